"""Fields about the workers' pods: they take effect on Kubernetes, and a warning tells so elsewhere."""

from trunkline.contracts import pod_shapes, spec_checks
from trunkline.contracts.spec_fields import BYTES, CORES, COUNT, TEXT, on_kubernetes
from trunkline.contracts.spec_kinds import JsonText, ListOf, MapOf, OneOf, Text, Whole
from trunkline.contracts.spec_sections import Section

GPU = Section(
    "gpu",
    "Graphics processors.",
    (
        on_kubernetes("type", Text(spec_checks.label_key), "such as nvidia.com/gpu", required=True),
        on_kubernetes("number", Whole(1, 1024), "how many", required=True),
    ),
)

RESOURCES = Section(
    "resources",
    "What one worker needs, or may use.",
    (
        on_kubernetes("cpu", CORES, "cores"),
        on_kubernetes("memory", BYTES, "bytes of memory", to="memory_bytes"),
        on_kubernetes("disk", BYTES, "bytes of ephemeral disk", to="disk_bytes"),
        on_kubernetes("gpu", GPU, "graphics processors"),
    ),
)

TOLERATION = Section(
    "toleration",
    "A taint that the workers' pods stand.",
    (
        on_kubernetes(
            "key", Text(spec_checks.label_key), "the taint's key; with EXISTS, all if not set"
        ),
        on_kubernetes(
            "operator",
            OneOf({"EXISTS": "Exists", "EQUAL": "Equal", "Exists": "Exists", "Equal": "Equal"}),
            "how key and value are compared",
        ),
        on_kubernetes("value", Text(spec_checks.label_value), "the taint's value"),
        on_kubernetes(
            "effect",
            OneOf(
                {
                    "ALL_EFFECTS": "",
                    **dict.fromkeys(("NO_SCHEDULE", "NoSchedule"), "NoSchedule"),
                    **dict.fromkeys(("PREFER_NO_SCHEDULE", "PreferNoSchedule"), "PreferNoSchedule"),
                    **dict.fromkeys(("NO_EXECUTE", "NoExecute"), "NoExecute"),
                }
            ),
            "the taint's effect; all if not set",
        ),
        on_kubernetes(
            "toleration_seconds", COUNT, "how long a running pod stands it", to="toleration_s"
        ),
    ),
    spec_checks.toleration,
)

_LABELS = MapOf(Text(spec_checks.label_value), spec_checks.label_key)

SCHEDULING = Section(
    "scheduling_spec",
    "Where the workers' pods may run.",
    (
        on_kubernetes("node_selector", _LABELS, "labels that a node must have"),
        on_kubernetes(
            "priority_class_name", Text(spec_checks.object_name), "the pods' priority class"
        ),
    ),
)

METADATA = Section(
    "metadata",
    "What the workers' pods bear; our own labels win.",
    (
        on_kubernetes("annotations", MapOf(TEXT, spec_checks.label_key), "annotations"),
        on_kubernetes("labels", _LABELS, "labels"),
    ),
)

FIELDS = (
    on_kubernetes("resource_requests", RESOURCES, "what a worker needs"),
    on_kubernetes("resource_limits", RESOURCES, "what a worker may use"),
    on_kubernetes("scheduling_spec", SCHEDULING, "where workers may run"),
    on_kubernetes("tolerations", ListOf(TOLERATION), "taints that workers stand"),
    on_kubernetes("metadata", METADATA, "labels and annotations of the workers' pods"),
    on_kubernetes(
        "pod_spec",
        JsonText(dict, "a string that holds a JSON object", pod_shapes.check),
        "merged into the pods",
    ),
    on_kubernetes(
        "pod_patch",
        JsonText(
            list,
            "a string that holds an array of JSON Patch operations",
            pod_shapes.check_operations,
        ),
        "applied to the pods last",
    ),
)
"""What a spec itself has of them."""
