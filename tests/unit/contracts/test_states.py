from trunkline.contracts.states import JOB_CHANGES, JobState


def test_every_state_has_its_changes_and_every_job_can_end():
    assert set(JOB_CHANGES) == set(JobState)
    for state in JobState:
        reached, frontier = {state}, [state]
        while frontier:
            for following in JOB_CHANGES[frontier.pop()] - reached:
                reached.add(following)
                frontier.append(following)
        assert any(each.ended for each in reached)


def test_an_ended_job_never_changes_again():
    ended = {state for state in JobState if state.ended}
    assert ended == {JobState.SUCCESS, JobState.FAILURE, JobState.KILLED, JobState.UNRUNNABLE}


def test_success_is_reached_through_merging_only():
    assert [state for state, to in JOB_CHANGES.items() if JobState.SUCCESS in to] == [
        JobState.MERGING
    ]
