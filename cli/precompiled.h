#pragma once
#include "core/precompiled.h"

#include <CLI/CLI.hpp>
