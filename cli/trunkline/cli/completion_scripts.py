"""What each shell is to source. The answers are click's; how a line is cut into words, and what of one an answer takes the place of, is the shell's.

Names of jobs and files hold `@`, `:` and `=`, and an option's value may stand in one word with it (`--output=json`). Bash
cuts a line there, zsh and fish do not: so bash is given what comes after the cut, zsh is told where the value begins, and fish, which takes
whole words only, gets the option back before each value.
"""

_BASH = r"""# The line is handed on as it is typed: bash cuts words at @, : and =, which names of jobs and files hold.
_trunkline_completion() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n' word kept reply type value
    local -a words
    IFS=$' \t\n' read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]} - 1]}"
    kept=""
    [[ $word == *[@:=]* ]] && kept="${word%"${word##*[@:=]}"}"
    kept="${kept%@}"  # readline cuts before an @, and replaces it with what follows
    COMPREPLY=()
    for reply in $(COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) \
            _TRUNKLINE_COMPLETE=bash_complete "$1" 2>/dev/null); do
        IFS=, read -r type value <<< "$reply"
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            *) COMPREPLY+=("${value#"$kept"}") ;;
        esac
    done
}
complete -o nosort -F _trunkline_completion trunkline
"""

_ZSH = r"""#compdef trunkline

_trunkline_completion() {
    local type value help
    local -a found described replies
    (( $+commands[trunkline] )) || return 1
    replies=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \
        _TRUNKLINE_COMPLETE=zsh_complete trunkline 2>/dev/null)}")
    [[ $PREFIX == -*=* ]] && compset -P '*='
    for type value help in $replies; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            *) if [[ $help == _ ]]; then found+=("$value"); else described+=("$value:$help"); fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described
    (( $#found )) && compadd -V unsorted -a found
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _trunkline_completion "$@"  # found in $fpath, and called for the first time
else
    compdef _trunkline_completion trunkline
fi
"""

_FISH = r"""function _trunkline_completion
    set -l word (commandline -ct)
    set -l kept (string match -r -- '^-[^=]*=' "$word"; or echo "")
    for reply in (env COMP_WORDS=(commandline -cp | string collect) COMP_CWORD="$word" \
            _TRUNKLINE_COMPLETE=fish_complete trunkline 2>/dev/null)
        set -l parts (string split -m 1 , -- $reply)
        switch $parts[1]
            case dir
                printf '%s\n' "$kept"(__fish_complete_directories $parts[2])
            case file
                printf '%s\n' "$kept"(__fish_complete_path $parts[2])
            case '*'
                printf '%s\n' "$kept$parts[2]"
        end
    end
end

complete --no-files --command trunkline --arguments "(_trunkline_completion)"
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
