"""What --help of each command ends with: a line that works, given the files it names. A command without one fails."""

from __future__ import annotations

import typer

EXAMPLES = {
    "run": "covaria run particles.star -o out --downsample 128",
    "ingest": "covaria ingest particles.cs --passthrough passthrough.cs -o out",
    "reconstruct": "covaria reconstruct out --zdim 1,2,4,10 --focus-mask arm.mrc",
    "density": "covaria density out --density-dim 2",
    "analyze": "covaria analyze out --zdim 4 --n-clusters 10",
    "state": "covaria state out --zdim 4 --points points.txt -o states",
    "trajectory": "covaria trajectory out --zdim 4 --from 0 --to 5 -o path",
    "embed": "covaria embed out session2.star --zdim 4 -o session2",
    "grow": "covaria grow out particles.star",
    "history": "covaria history out --plot history.png",
    "forecast": "covaria forecast out",
    "subset": 'covaria subset out --cluster 0,2 --where "contrast > 0.7" -o open_state',
    "outliers": "covaria outliers out -o outliers --rerun --rounds 2",
    "mask": "covaria mask model.pdb --chains A --like out/output/volumes/mean.mrc -o arm",
    "verify": "covaria verify out",
    "replay": "covaria replay out -o again",
    "postprocess": "covaria postprocess states/state000_half1_unfil.mrc states/state000_half2_unfil.mrc -o sharp",
    "external": "covaria external out --latents z.pkl -o out-drgn --n-clusters 10",
    "deposit": "covaria deposit out -o drafts --title 'Motion of a molecule'",
    "export": "covaria export out --layout recovar-0.4.5 -o out-recovar",
    "report": "covaria report out",
    "plots": "covaria plots out",
    "view": "covaria view out",
    "inspect": "covaria inspect particles.star --export pickles",
    "downsample": "covaria downsample particles.star -D 128 -o small",
    "simulate": "covaria simulate set --states ring --n-images 2000",
    "submit": "covaria submit particles.star -o /data/out --class live --wait",
    "watch": "covaria watch /data/arriving --into /data/results --downsample 128",
    "status": "covaria status /data/out --follow",
    "list": "covaria list /data --state running",
    "logs": "covaria logs /data/out --stage reconstruction",
    "cancel": "covaria cancel /data/out",
    "retry": "covaria retry /data/out",
    "priority": "covaria priority /data/out 3f0c9a5e2b7d4c61 --class live",
    "reconcile": "covaria reconcile /data --dry-run",
    "account": "covaria account /data --by proposal --since 2026-01-01",
    "clean": "covaria clean /data --intermediates 7 --failed 30",
    "broker declare": "covaria broker declare",
    "broker definitions": "covaria broker definitions --vhost covaria -o definitions.json",
    "broker status": "covaria broker status",
    "parking list": "covaria parking list --json",
    "parking show": "covaria parking show 3f0c9a5e2b7d4c61",
    "parking replay": "covaria parking replay --all",
    "parking drop": "covaria parking drop 3f0c9a5e2b7d4c61",
    "sbatch": "covaria sbatch --partition gpu --gpus 1 run particles.star -o out --downsample 128",
    "launcher slurm": "covaria launcher slurm reconstruction --partition gpu --gpus 1 --most 8",
    "gateway": "covaria gateway",
    "adapter zocalo": "covaria adapter zocalo",
    "adapter ispyb": "covaria adapter ispyb",
    "adapter webhook": "covaria adapter webhook",
    "worker": "covaria worker reconstruction --class both",
    "exporter": "covaria exporter /data --once",
    "doctor": "covaria doctor",
    "schema": "covaria schema --check",
}


def add_examples(app: typer.Typer, prefix: str = "") -> None:
    """End the help of every command beneath `app` with its example. Raises KeyError for a command that has none."""
    for command in app.registered_commands:
        command.epilog = f"Example: {EXAMPLES[prefix + str(command.name)]}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{prefix}{group.name} ")
