"""The command line: one module per verb, imported when the verb is used, so that `--help` is instant."""

from __future__ import annotations

from cbalign.cli.shell import Shell, Verb

SPECS, EXPERIMENTS, BUNDLES, TOOLS = "Specs", "Experiments", "Bundles", "Tools"

VERBS = (
    Verb("validate", "validate", SPECS, "Check specs and show every mistake where it was written."),
    Verb("show", "show", SPECS, "Print a spec, with all defaults and where each value was set."),
    Verb("explain", "explain", SPECS, "Tell what a setting means: type, range, default, effect, the paper's value."),
    Verb("diff", "diff", SPECS, "Tell two experiments apart, and what the difference does."),
    Verb("plan", "plan", SPECS, "Tell size, memory, steps and time before paying for them."),
    Verb("schema", "schema", SPECS, "Print the JSON Schema of specs, for editors."),
    Verb("ls", "ls", SPECS, "List the recipes that come with cbalign."),
    Verb("cp", "cp", SPECS, "Copy a recipe to start from."),
    Verb("init", "init", SPECS, "Write a spec for a folder of data."),
    Verb("migrate", "migrate", SPECS, "Turn another tool's or an older configuration into a spec."),
    Verb("train", "train", EXPERIMENTS, "Train the experiment that a spec describes, or go on with a run."),
    Verb("evaluate", "evaluate", EXPERIMENTS, "Measure a run or a bundle."),
    Verb("sweep", "sweep", EXPERIMENTS, "Train a spec over a grid of settings or seeds."),
    Verb("runs", "runs", EXPERIMENTS, "List, compare and remove runs."),
    Verb("report", "report", EXPERIMENTS, "Draw the pictures that a model finds."),
    Verb("export", "export", BUNDLES, "Write a run as an ONNX bundle that needs no PyTorch."),
    Verb("verify", "verify", BUNDLES, "Check a bundle's files, graphs and numbers."),
    Verb("benchmark", "benchmark", BUNDLES, "Measure a bundle's speed and memory."),
    Verb("search", "search", BUNDLES, "Find the pictures of a folder that fit a text."),
    Verb("serve", "serve", BUNDLES, "Answer requests with a bundle over HTTP."),
    Verb("data", "data", TOOLS, "Check, pack and count data."),
    Verb("import", "import_", TOOLS, "Turn published weights into a checkpoint."),
    Verb("doctor", "doctor", TOOLS, "Say what is installed, what conflicts, and what to do."),
    Verb("completion", "completion", TOOLS, "Print the completion script of a shell."),
)

main = Shell(VERBS)
