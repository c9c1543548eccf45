#pragma once
// Our own shared libraries that are opened only when a command needs them.

#include <string>

#include "core/file.h"

namespace lancet {

/// NAME beside the executable, else in the lib folder of the install tree.
[[nodiscard]] fs::path our_library(const char* name);

/// dlopen with RTLD_NOW | `flags`; Error(kResource) of `operation` with `hint` when it fails.
void* load_library(const fs::path& library, int flags, const char* operation,
                   const std::string& hint);

/// The folder of the running executable.
[[nodiscard]] fs::path executable_dir();

}  // namespace lancet
