#include "distill/verify/confinement.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "core/error.h"
#include "distill/verify/seccomp_filter.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "sandbox";
constexpr int kFirstPassed = 3;
constexpr const char* kUser = "65534";
constexpr std::string_view kPasswd = "nobody:x:65534:65534:nobody:/work:/bin/sh\n";
constexpr std::string_view kGroup = "nogroup:x:65534:\n";

fs::path find_bubblewrap() {
  if (const char* named = std::getenv("LANCET_BWRAP")) return named;
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    fs::path candidate = fs::path(rest.substr(0, end)) / "bwrap";
    if (end > 0 && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  fail(ErrorKind::kResource, kOperation,
       "expected bubblewrap (bwrap) on PATH, found none; generated code is never run without it",
       "install the package bubblewrap, or name the program with LANCET_BWRAP");
}

/// The cell lies beside the library that holds this code.
const std::string& cell_program() {
  static const std::string program = [] {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&find_bubblewrap), &info) == 0)
      fail(ErrorKind::kInternal, kOperation, "cannot tell where the library lies");
    return read_file(fs::path(info.dli_fname).parent_path() / "lancet_cell");
  }();
  return program;
}

const std::string& filter_program() {
  static const std::string program = seccomp_program();
  return program;
}

class Builder {
 public:
  void add(std::initializer_list<std::string> words) {
    made_.argv.insert(made_.argv.end(), words.begin(), words.end());
  }
  /// The number that `descriptor` has inside.
  int pass(Descriptor descriptor) {
    made_.passed.push_back(std::move(descriptor));
    return kFirstPassed + static_cast<int>(made_.passed.size()) - 1;
  }
  /// A read-only file made of `text`.
  void add_file(const std::string& path, std::string_view text, const char* permissions = "0444") {
    const int fd = pass(make_memory_file("sandbox", text));
    add({"--perms", permissions, "--ro-bind-data", std::to_string(fd), path});
  }
  void add_tmpfs(const char* path, std::uint64_t size) {
    add({"--perms", "1777", "--size", std::to_string(size), "--tmpfs", path});
  }
  [[nodiscard]] Confinement take() { return std::move(made_); }
  Confinement& made() { return made_; }

 private:
  Confinement made_;
};

/// /usr, and /bin, /lib ... as they are on this machine: links into /usr, or folders.
void add_system(Builder& builder) {
  builder.add({"--ro-bind", "/usr", "/usr"});
  for (const char* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::error_code error;
    const fs::path target = fs::read_symlink(path, error);
    if (!error) {
      builder.add({"--symlink", target.string(), path});
    } else if (fs::is_directory(path, error)) {
      builder.add({"--ro-bind", path, path});
    }
  }
  for (const char* path : {"/etc/ld.so.cache", "/etc/alternatives"})
    builder.add({"--ro-bind-try", path, path});
  builder.add_file("/etc/passwd", kPasswd);
  builder.add_file("/etc/group", kGroup);
}

void add_environment(Builder& builder) {
  builder.add({"--clearenv"});
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{
           {"PATH", "/usr/local/bin:/usr/bin:/bin"},
           {"HOME", "/work"},
           {"TMPDIR", "/tmp"},
           {"LANG", "C.UTF-8"},
           {"TZ", "UTC"},
           {"PYTHONHASHSEED", "0"}}) {
    builder.add({"--setenv", name, value});
  }
}

void add_cell(Builder& builder, const Program& program, const SandboxLimits& limits) {
  const auto seconds = static_cast<std::uint64_t>(std::ceil(limits.cpu_seconds));
  builder.add({"--", "/cell", std::to_string(builder.made().report_fd),
               std::to_string(limits.memory), std::to_string(limits.tasks), std::to_string(seconds),
               std::to_string(limits.file_size)});
  for (const SandboxStep& step : program.steps) {
    builder.add({std::to_string(step.argv.size())});
    auto& argv = builder.made().argv;
    argv.insert(argv.end(), step.argv.begin(), step.argv.end());
  }
}

}  // namespace

Confinement confine(const Program& program, const SandboxLimits& limits, Descriptor report) {
  Builder builder;
  builder.add({find_bubblewrap().string(), "--unshare-user", "--unshare-ipc", "--unshare-pid",
               "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--as-pid-1",
               "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--uid", kUser, "--gid",
               kUser, "--hostname", "sandbox"});
  builder.made().report_fd = builder.pass(std::move(report));
  add_environment(builder);
  add_system(builder);
  builder.add({"--proc", "/proc", "--dev", "/dev"});
  builder.add_tmpfs("/dev/shm", limits.disk);
  builder.add_tmpfs("/tmp", limits.disk);
  builder.add_tmpfs("/work", limits.disk);
  for (const SandboxFile& file : program.files) builder.add_file("/work/" + file.name, file.text);
  builder.add_file("/cell", cell_program(), "0555");
  builder.add({"--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work"});
  const int filter = builder.pass(make_memory_file("seccomp", filter_program()));
  builder.add({"--seccomp", std::to_string(filter)});
  add_cell(builder, program, limits);
  return builder.take();
}

}  // namespace lancet
