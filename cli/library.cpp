#include "cli/library.h"

#include <dlfcn.h>

#include "core/error.h"

namespace lancet {

fs::path executable_dir() { return fs::read_symlink("/proc/self/exe").parent_path(); }

fs::path our_library(const char* name) {
  const fs::path beside = executable_dir() / name;
  std::error_code ignored;
  return fs::exists(beside, ignored) ? beside : executable_dir() / ".." / "lib" / name;
}

void* load_library(const fs::path& library, int flags, const char* operation,
                   const std::string& hint) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | flags);
  if (handle == nullptr) {
    fail(ErrorKind::kResource, operation,
         fmt::format("could not load {}: {}", library.string(), dlerror()), hint);
  }
  return handle;
}

}  // namespace lancet
