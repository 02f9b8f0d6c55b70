"""Runs a function in several gloo processes on this machine."""

import os
import socket
import traceback

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _run(rank, world, port, function, arguments, errors):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        function(*arguments)
        dist.barrier()
    except BaseException:
        errors.put(f"process {rank} of {world}:\n{traceback.format_exc()}")
        os._exit(1)  # the others may wait for this one
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads, if the interpreter goes on to take them down, now and then abort the process


def in_processes(world, function, *arguments):
    """``function(*arguments)`` in each of `world` processes; raises what the first one raised."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = mp.get_context("spawn")
    errors = context.SimpleQueue()
    running = [context.Process(target=_run, args=(r, world, port, function, arguments, errors)) for r in range(world)]
    for process in running:
        process.start()
    try:
        while any(process.is_alive() for process in running):
            for process in running:
                process.join(0.2)
            if not errors.empty():
                raise AssertionError(errors.get())
    finally:
        for process in running:
            process.kill()
            process.join()
    if not errors.empty():
        raise AssertionError(errors.get())
    assert all(process.exitcode == 0 for process in running)
