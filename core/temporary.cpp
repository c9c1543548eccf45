#include "core/temporary.h"

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/plain_path.h"
#include "core/text.h"

namespace lancet::temporary {
namespace {

constexpr std::string_view kInfix = ".lancet-";
constexpr std::string_view kSuffix = ".tmp";

bool is_process_dead(std::string_view digits) {
  pid_t pid = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), pid);
  return pid <= 0 || (::kill(pid, 0) != 0 && errno == ESRCH);
}

/// Removes a temporary whose lock is free or, where locks are unknown, whose process is gone. The
/// lock is kept until then: an owner that came in between finds its file gone and takes another.
void remove_if_left(const fs::path& path, std::string_view pid) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  const bool locked = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  const bool held = !locked && errno == EWOULDBLOCK;
  std::error_code ignored;
  if (locked || (!held && is_process_dead(pid))) fs::remove_all(path, ignored);
  ::close(fd);
}

}  // namespace

std::string shown(const fs::path& path) {
  return fmt::format("'{}'", printable(path.string(), 400));
}

void fail_write(const fs::path& path, int error, std::string_view verb) {
  std::string hint;
  if (error == ENOSPC || error == EDQUOT) hint = "free some space or choose another disk";
  if (error == EFBIG)
    hint = "the file system or a limit of the shell (ulimit -f) forbids this size";
  if (error == EACCES || error == EPERM || error == EROFS) hint = "choose a place you may write to";
  fail(ErrorKind::kResource, "write",
       fmt::format("cannot {} {}: {}", verb, shown(path), std::strerror(error)), std::move(hint));
}

fs::path named_path(fs::path path) {
  fs::path full = path.empty() ? std::move(path) : plain_path(fs::absolute(path));
  if (!full.has_filename()) full = full.parent_path();
  if (!full.has_filename()) {
    fail(ErrorKind::kUsage, "write", fmt::format("{} is not a name to write to", shown(full)));
  }
  return full;
}

void make_parent(const fs::path& path) {
  if (!path.has_parent_path()) return;  // where we are
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) fail_write(path.parent_path(), error.value(), "create");
}

fs::path name_for(const fs::path& path) {
  static std::atomic<unsigned> count{0};
  const std::string name = path.filename().string().substr(0, 180);
  return path.parent_path() /
         fmt::format(".{}{}{}-{}{}", name, kInfix, ::getpid(), count++, kSuffix);
}

void remove_leftovers(const fs::path& path) {
  const std::string prefix = fmt::format(".{}{}", path.filename().string().substr(0, 180), kInfix);
  std::error_code error;
  for (fs::directory_iterator entry(path.parent_path(), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(kSuffix)) continue;
    remove_if_left(entry->path(), std::string_view(name).substr(prefix.size()));
  }
}

bool lock(int fd) noexcept {
  struct stat info {};
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  return ::fstat(fd, &info) == 0 && info.st_nlink > 0;
}

namespace {

void sync(const fs::path& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) fail_write(path, errno, "open");
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Some file systems cannot sync a directory.
  if (error != 0 && error != EINVAL && error != ENOTSUP) fail_write(path, error, "sync");
}

}  // namespace

void sync_parent(const fs::path& path) { sync(path.parent_path(), O_DIRECTORY); }

void sync_tree(const fs::path& dir) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const fs::file_status status = entry->symlink_status(ignored);
    if (fs::is_regular_file(status) || fs::is_directory(status)) sync(entry->path(), O_NOFOLLOW);
  }
  if (error) fail_write(dir, error.value(), "read");
  sync(dir, O_NOFOLLOW);
}

DirectoryLock::DirectoryLock(const fs::path& dir, std::string_view operation)
    : fd_(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ < 0) fail_write(dir, errno, "open");
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(fd_);
  fail(ErrorKind::kResource, operation,
       fmt::format("another process is writing into {}", shown(dir)),
       "wait for it, or give another output");
}

DirectoryLock::~DirectoryLock() { ::close(fd_); }

}  // namespace lancet::temporary
