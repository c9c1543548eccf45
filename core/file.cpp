#include "core/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/nearby.h"
#include "core/temporary.h"

namespace lancet {
namespace {

using temporary::shown;

constexpr std::uint64_t kReadBlock = 1U << 20;
/// A fault maps what is cached around it, up to a large folio: what the neighbours of a range have
/// mapped of it, or it of them, is released with it (they fault again at no cost to speak of).
constexpr std::uint64_t kFaultAround = 2U << 20;

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

[[noreturn]] void fail_input(std::string_view operation, const fs::path& path,
                             std::string_view reason, std::string hint = {}) {
  fail(ErrorKind::kInput, operation, fmt::format("cannot read {}: {}", shown(path), reason),
       std::move(hint));
}

/// The system's words for errno, with what lies near a path that is not there.
[[noreturn]] void fail_system(std::string_view operation, const fs::path& path) {
  const int error = errno;
  fail_input(operation, path, std::strerror(error), error == ENOENT ? nearby_hint(path) : "");
}

std::int64_t modified_ns(const struct stat& info) {
  return std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view{} : std::string_view(value);
}

fs::path home_dir() {
  if (const auto home = environment("HOME"); !home.empty()) return home;
  const passwd* user = ::getpwuid(::getuid());
  return user == nullptr || user->pw_dir == nullptr ? fs::path() : fs::path(user->pw_dir);
}

fs::path choose_cache_dir() {
  if (const auto own = environment("LANCET_CACHE"); !own.empty()) return fs::absolute(own);
  const fs::path xdg = environment("XDG_CACHE_HOME");
  if (xdg.is_absolute()) return xdg / "lancet";  // the XDG specification ignores relative paths
  const fs::path home = home_dir();
  return home.is_absolute() ? home / ".cache" / "lancet" : fs::path();
}

bool is_dir(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  // O_NONBLOCK: a named pipe must not make the open wait before it is refused.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat info {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) fail_system("open", path);
  if (S_ISDIR(info.st_mode)) fail_input("open", path, "it is a directory");
  if (!S_ISREG(info.st_mode)) fail_input("open", path, "not a regular file");
  size_ = static_cast<std::uint64_t>(info.st_size);
  modified_ns_ = modified_ns(info);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail_system("open", path);
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      modified_ns_(other.modified_ns_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

void MappedFile::prefetch(std::uint64_t offset, std::uint64_t length) const noexcept {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  if (data_ == nullptr || offset >= size_) return;
  const std::uint64_t first = offset / page * page;
  const std::uint64_t end = offset + std::min(length, size_ - offset);
  ::madvise(const_cast<std::byte*>(data_) + first, end - first, MADV_WILLNEED);
}

void MappedFile::release(std::uint64_t offset, std::uint64_t length) const noexcept {
  if (data_ == nullptr || offset >= size_) return;
  const std::uint64_t end = offset + std::min(length, size_ - offset);
  const std::uint64_t first = offset / kFaultAround * kFaultAround;
  const std::uint64_t last =
      std::min(size_, (end + kFaultAround - 1) / kFaultAround * kFaultAround);
  ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

void MappedFile::check_unchanged() const {
  struct stat info {};
  if (::stat(path_.c_str(), &info) != 0) fail_system("open", path_);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size == size_ && modified_ns(info) == modified_ns_) return;
  fail(ErrorKind::kInput, "open",
       fmt::format("{} changed while it was read: {} bytes, now {}", shown(path_), size_, size));
}

std::string read_file(const fs::path& path, std::uint64_t limit) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
  if (file.fd < 0 && errno == EINTR) check_interrupted();  // a named pipe without a writer
  struct stat info {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) fail_system("read", path);
  if (S_ISDIR(info.st_mode)) fail_input("read", path, "it is a directory");
  const auto fail_size = [&] {
    fail_input("read", path, fmt::format("larger than the {} bytes allowed here", limit));
  };
  const bool regular = S_ISREG(info.st_mode);
  const std::uint64_t expected = regular ? static_cast<std::uint64_t>(info.st_size) : 0;
  if (expected > limit) fail_size();
  std::string text;
  std::uint64_t size = 0;
  while (true) {
    text.resize(std::max(expected + 1, size + (regular ? 1 : kReadBlock)));
    const ssize_t got = ::read(file.fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) {
      check_interrupted();
      continue;
    }
    if (got < 0) fail_system("read", path);
    if (got == 0) break;
    size += static_cast<std::uint64_t>(got);
    if (size > limit) fail_size();
  }
  text.resize(size);
  return text;
}

fs::path user_cache_dir() {
  fs::path dir = choose_cache_dir();
  constexpr std::string_view kHint = "set LANCET_CACHE to a directory that can be written";
  if (dir.empty()) {
    fail(ErrorKind::kResource, "cache", "no home directory is known", std::string(kHint));
  }
  std::error_code error;
  fs::create_directories(dir, error);
  if (!is_dir(dir)) {
    const std::string reason = error ? error.message() : "it is not a directory";
    fail(ErrorKind::kResource, "cache", fmt::format("cannot create {}: {}", shown(dir), reason),
         std::string(kHint));
  }
  return dir;
}

fs::path share_dir() {
  constexpr std::string_view kHint = "set LANCET_SHARE to the share directory of lancet";
  if (const auto own = environment("LANCET_SHARE"); !own.empty()) {
    if (is_dir(own)) return fs::absolute(own);
    fail(ErrorKind::kResource, "share",
         fmt::format("LANCET_SHARE={} is not a directory", shown(own)), std::string(kHint));
  }
  std::error_code error;
  const fs::path binary = fs::read_symlink("/proc/self/exe", error);
  const fs::path above = binary.parent_path().parent_path();
  if (fs::path installed = above / "share" / "lancet"; is_dir(installed)) return installed;
  // A build tree lies in the source tree (build/lancet, build/tests/test_core), known by its files.
  fs::path root = above;
  for (int up = 0; up < 3 && !root.empty(); ++up, root = root.parent_path()) {
    if (fs::exists(root / "core" / "file.h", error) && is_dir(root / "share")) {
      return root / "share";
    }
  }
  fail(ErrorKind::kResource, "share", fmt::format("no share directory beside {}", shown(binary)),
       std::string(kHint));
}

}  // namespace lancet
