"""The command line: one module per verb, imported when the verb is called, so that `--help` is fast."""

from __future__ import annotations

from cbalign.cli.shell import Shell, Verb

SPECS, EXPERIMENTS, BUNDLES, TOOLS = "Specs", "Experiments", "Bundles", "Tools"

VERBS = (
    Verb("validate", "validate", SPECS, "Check specs and report every mistake with its position."),
    Verb("show", "show", SPECS, "Print a spec, optionally with defaults and the origin of each value."),
    Verb("explain", "explain", SPECS, "Describe a setting: type, range, default, effect, published value."),
    Verb("diff", "diff", SPECS, "Compare experiments and report what the differences affect."),
    Verb("plan", "plan", SPECS, "Estimate size, memory, steps and time of a training."),
    Verb("schema", "schema", SPECS, "Print the JSON Schema of specs, for editors."),
    Verb("ls", "ls", SPECS, "List the recipes that come with cbalign."),
    Verb("cp", "cp", SPECS, "Copy a recipe as a starting point."),
    Verb("init", "init", SPECS, "Write a spec for a folder of data."),
    Verb("migrate", "migrate", SPECS, "Convert a configuration of another tool or an older version to a spec."),
    Verb("train", "train", EXPERIMENTS, "Train the experiment of a spec, or resume a run."),
    Verb("evaluate", "evaluate", EXPERIMENTS, "Evaluate a run or a bundle."),
    Verb("sweep", "sweep", EXPERIMENTS, "Train a spec over a grid of settings or seeds."),
    Verb("runs", "runs", EXPERIMENTS, "List, show, compare, repeat and remove runs."),
    Verb("report", "report", EXPERIMENTS, "Draw the images that a model retrieves."),
    Verb("export", "export", BUNDLES, "Export a run to an ONNX bundle that needs no PyTorch."),
    Verb("verify", "verify", BUNDLES, "Check a bundle's files, graphs and numbers."),
    Verb("benchmark", "benchmark", BUNDLES, "Measure a bundle's speed and memory."),
    Verb("search", "search", BUNDLES, "Find the images in a folder that match a text."),
    Verb("serve", "serve", BUNDLES, "Serve a bundle over HTTP."),
    Verb("data", "data", TOOLS, "Check, describe and pack data."),
    Verb("import", "import_", TOOLS, "Import published weights as a run."),
    Verb("doctor", "doctor", TOOLS, "Check the installation and report problems with their remedies."),
    Verb("completion", "completion", TOOLS, "Print the completion script of a shell."),
)

main = Shell(VERBS)
