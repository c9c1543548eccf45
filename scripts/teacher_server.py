#!/usr/bin/env python3
"""Runs llama.cpp's server from xllamacpp on loopback until standard input closes or a signal comes.
Usage: teacher_server.py MODEL.gguf PORT"""
import os
import signal
import socket
import sys
import threading

import xllamacpp

model, port = sys.argv[1], int(sys.argv[2])
if port == 0:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
params = xllamacpp.CommonParams()
params.model.path = model
params.hostnames = ["127.0.0.1"]
params.port = port
params.n_parallel = 8
params.n_ctx = 8192
params.fit_params = params.warmup = False  # no trial loads: the model is small, the settings are known
for pool in (params.cpuparams, params.cpuparams_batch):
    pool.n_threads = 1  # threads that wait for each other stand still on a busy machine
server = xllamacpp.Server(params)
print(server.listening_address + "/v1", flush=True)
# Whoever started it holds the other end of standard input: when that ends, so does the server.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
signal.sigwait({signal.SIGINT, signal.SIGTERM})
os._exit(0)
