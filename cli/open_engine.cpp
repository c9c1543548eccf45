// Finds LibTorch, loads it and liblancet_engine, and hands out the engine.

#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "cli/engine.h"
#include "cli/library.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "version.h"

namespace lancet {
namespace {

/// The torch folder that `python3 -c "import torch"` would use; empty when there is none.
fs::path python_torch() {
  const char* query =
      "python3 -c 'import importlib.util as u; s = u.find_spec(\"torch\"); "
      "print(s.submodule_search_locations[0] "
      "if s else \"\")' 2>/dev/null";
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(query, "r"), pclose);
  std::array<char, 4096> line{};
  if (!pipe || std::fgets(line.data(), static_cast<int>(line.size()), pipe.get()) == nullptr)
    return {};
  std::string path(line.data());
  while (!path.empty() && path.back() == '\n') path.pop_back();
  return path;
}

std::vector<fs::path> build_tree_torch() {
  std::vector<fs::path> found;
  const fs::path lib = executable_dir() / ".." / ".venv" / "lib";
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(lib, ignored)) {
    found.push_back(entry.path() / "site-packages" / "torch");
  }
  return found;
}

bool holds_libtorch(const fs::path& root) {
  std::error_code ignored;
  return !root.empty() && fs::exists(root / "lib" / "libtorch_cpu.so", ignored);
}

/// "2.11.0" of a wheel (version.py) or of a LibTorch archive (build-version); empty when neither is
/// there.
std::string libtorch_version(const fs::path& root) {
  for (const char* name : {"version.py", "build-version"}) {
    std::error_code ignored;
    if (!fs::exists(root / name, ignored)) continue;
    const std::string text = read_file(root / name, 1 << 20);
    const auto at = std::string_view(name) == "version.py" ? text.find("__version__ = '") + 15 : 0;
    return text.substr(at, text.find_first_of("+'\n", at) - at);
  }
  return {};
}

fs::path find_libtorch() {
  std::vector<fs::path> candidates;
  if (const char* given = std::getenv("LANCET_LIBTORCH")) {
    candidates.emplace_back(given);
    if (!holds_libtorch(given)) {
      fail(
          ErrorKind::kResource, "engine",
          fmt::format("expected LibTorch in LANCET_LIBTORCH={}, found no lib/libtorch_cpu.so there",
                      given),
          "point it at the torch folder of a Python installation or at an unpacked LibTorch");
    }
  } else {
    candidates.push_back(executable_dir() / ".." / "lib" / "libtorch");
    for (auto& path : build_tree_torch()) candidates.push_back(std::move(path));
    candidates.emplace_back();  // stands for what python3 says, asked when nothing nearer is found
  }
  std::string tried;
  for (auto& candidate : candidates) {
    if (candidate.empty()) candidate = python_torch();
    if (!holds_libtorch(candidate)) {
      if (!candidate.empty()) tried += " " + candidate.lexically_normal().string();
      continue;
    }
    const auto version = libtorch_version(candidate);
    if (version != LANCET_LIBTORCH_VERSION) {
      fail(ErrorKind::kResource, "engine",
           fmt::format("expected LibTorch {}, found {} in {}", LANCET_LIBTORCH_VERSION,
                       version.empty() ? "no version" : version, candidate.string()),
           fmt::format("pip install torch=={} and set LANCET_LIBTORCH to its folder",
                       LANCET_LIBTORCH_VERSION));
    }
    return fs::canonical(candidate);
  }
  fail(ErrorKind::kResource, "engine",
       fmt::format("this command needs LibTorch {}, found none (tried{} and python3)",
                   LANCET_LIBTORCH_VERSION, tried),
       fmt::format(
           "pip install torch=={}, or set LANCET_LIBTORCH to a folder that has lib/libtorch_cpu.so",
           LANCET_LIBTORCH_VERSION));
}

void* load(const fs::path& library, int flags) {
  return load_library(
      library, flags, "engine",
      "the CPU half of LibTorch also needs nvidia-cuda-runtime and nvidia-cuda-cupti beside it");
}

/// CUDA is wanted when it was asked for, or under auto where a device node exists.
bool wants_cuda(const std::string& device) {
  std::error_code ignored;
  return device.starts_with("cuda") || (device == "auto" && fs::exists("/dev/nvidia0", ignored));
}

}  // namespace

Engine& open_engine(const RuntimeOptions& runtime) {
  static Engine* engine = nullptr;
  if (engine != nullptr) return *engine;
  const fs::path torch = find_libtorch();
  log::verbose("LibTorch: " + torch.string());
  // Read when libgomp is loaded: LibTorch's threads sleep between its operators instead of taking
  // the processors from ours.
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  load(torch / "lib" / "libc10.so", RTLD_GLOBAL);
  load(torch / "lib" / "libtorch_cpu.so", RTLD_GLOBAL);
  if (wants_cuda(runtime.device)) {
    const fs::path unit = our_library("liblancet_cuda.so");
    std::error_code ignored;
    if (fs::exists(unit, ignored)) {
      load(torch / "lib" / "libtorch_cuda.so", RTLD_GLOBAL);
      load(unit, RTLD_GLOBAL);
    } else if (runtime.device != "auto") {
      fail(ErrorKind::kResource, "engine", "expected liblancet_cuda.so beside lancet, found none",
           "this build has no CUDA unit: build where nvcc 13 is found");
    }
  }
  void* handle = load(our_library("liblancet_engine.so"), RTLD_LOCAL);
  using Instance = Engine* (*)();
  const auto instance = reinterpret_cast<Instance>(dlsym(handle, "lancet_engine_instance"));
  if (instance == nullptr)
    fail(ErrorKind::kInternal, "engine", "liblancet_engine has no entry point");
  engine = instance();
  return *engine;
}

}  // namespace lancet
