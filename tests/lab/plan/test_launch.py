from cbalign.lab.plan.launch import launches

TRAIN = ["cbalign", "train", "a spec.yaml"]


def test_one_device_needs_no_launcher():
    assert [start.command for start in launches(TRAIN, devices=1, nodes=1)] == ["cbalign train 'a spec.yaml'"]


def test_one_node_is_started_by_cbalign_itself():
    (start,) = launches(TRAIN, devices=8, nodes=1)
    assert start.command == "cbalign train 'a spec.yaml' --nproc 8"


def test_several_nodes_are_started_by_torchrun_or_slurm():
    each, slurm = launches(TRAIN, devices=16, nodes=2)
    assert "each of the 2 nodes" in each.where
    assert each.command == (
        "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HEAD:29500 --no-python "
        "cbalign train 'a spec.yaml'"
    )
    assert slurm.command == "srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 cbalign train 'a spec.yaml'"
