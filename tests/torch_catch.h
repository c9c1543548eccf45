#pragma once
// Catch2 for tests that also see LibTorch, whose logging has a macro CHECK of its own: LibTorch
// first, then Catch2's.

#include "model/precompiled.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Logging.h>

#undef CHECK
#include "tests/catch.h"
