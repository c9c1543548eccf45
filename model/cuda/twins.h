#pragma once
// The fused kernels' twins on the CPU: the same rows by the same source (X_rows.h), team by team.
// They say what a GPU must compute; passes on the CPU have faster kernels (model/kernels).

#include "model/cuda/jobs.h"

namespace lancet::fused {

extern const Kernels twins;  ///< pointers are of the CPU, streams are not looked at

}  // namespace lancet::fused
