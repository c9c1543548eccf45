#pragma once
// Precompiled header of everything that computes with LibTorch.
#include "core/precompiled.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/custom_function.h>
