// The writing half of core/file.h.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/temporary.h"

namespace lancet {

using namespace temporary;

namespace {

constexpr std::size_t kBufferSize = 1U << 20;
constexpr std::size_t kLongestName = 230;  ///< of 255: files beside an output add to its name

[[noreturn]] void fail_exists(std::string_view operation, const fs::path& path) {
  fail(ErrorKind::kUsage, operation, fmt::format("{} exists already", shown(path)),
       "choose another name, or --force to replace it");
}

/// The root, the home directory or one that holds the current directory: never replaced as a whole.
bool is_precious(const fs::path& dir) {
  std::error_code error;
  const fs::path real = fs::canonical(dir, error);
  if (error || !fs::is_directory(real, error)) return false;
  const auto holds = [&](const fs::path& inner) {
    const fs::path other = fs::weakly_canonical(inner, error);
    return std::mismatch(real.begin(), real.end(), other.begin(), other.end()).first == real.end();
  };
  const char* home = std::getenv("HOME");
  return holds(fs::current_path(error)) || (home != nullptr && *home != '\0' && holds(home));
}

void refuse_precious(std::string_view operation, const fs::path& dir) {
  if (!is_precious(dir)) return;
  fail(ErrorKind::kUsage, operation,
       fmt::format("{} holds the current or the home directory and is not replaced", shown(dir)),
       "name a directory of its own for the output");
}

/// Puts `from` in the place of `to`, which exists; what stood there ends under `from` or is
/// removed.
void exchange(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
  const fs::path aside = name_for(to);
  if (::rename(to.c_str(), aside.c_str()) != 0) fail_write(to, errno, "replace");
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int error = errno;
    ::rename(aside.c_str(), to.c_str());
    fail_write(to, error, "replace");
  }
  std::error_code ignored;
  fs::remove_all(aside, ignored);
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(named_path(std::move(path))) {
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(path_, ignored);
  if (fs::is_directory(path_, ignored))  // or a link to one, which the file would replace
    fail(ErrorKind::kUsage, "write",
         fmt::format("expected the name of a file, found the directory {}", shown(path_)),
         "name a file in it, or another one");
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_symlink(status)) {
    fail(ErrorKind::kResource, "write",
         fmt::format("{} exists and is not a regular file", shown(path_)));
  }
  make_parent(path_);
  remove_leftovers(path_);
  while (fd_ < 0) {
    temporary_ = name_for(path_);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) fail_write(path_, errno, "create");
    if (fd_ >= 0 && !lock(fd_)) ::close(std::exchange(fd_, -1));
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::unlink(temporary_.c_str());
  ::close(fd_);
}

void AtomicFile::reserve(std::uint64_t size) {
  if (size == 0) return;
  if (::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) == 0) return;
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) fail_write(path_, error, "reserve");
  struct statvfs disk {};
  if (::fstatvfs(fd_, &disk) != 0) return;
  if (checked_mul(disk.f_bavail, disk.f_frsize).value_or(size) < size) {
    fail_write(path_, ENOSPC, "reserve");
  }
}

void AtomicFile::write(Bytes bytes) {
  write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void AtomicFile::write(std::string_view text) {
  if (fd_ < 0) fail(ErrorKind::kInternal, "write", "write after commit");
  written_ += text.size();
  if (buffer_.size() + text.size() <= kBufferSize) {
    buffer_.append(text);
    return;
  }
  flush();
  if (text.size() < kBufferSize) {
    buffer_.assign(text);
  } else {
    write_all(text);
  }
}

void AtomicFile::flush() {
  write_all(buffer_);
  buffer_.clear();
}

void AtomicFile::write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd_, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail_write(path_, put < 0 ? errno : ENOSPC);
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

void AtomicFile::commit() {
  if (fd_ < 0) fail(ErrorKind::kInternal, "write", "commit called twice");
  flush();
  // Gives back what was reserved and not used.
  if (::ftruncate(fd_, static_cast<off_t>(written_)) != 0) fail_write(path_, errno);
  if (::fsync(fd_) != 0) fail_write(path_, errno, "sync");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write(path_, errno, "rename");
  ::close(std::exchange(fd_, -1));
  sync_parent(path_);
}

AtomicDirectory::AtomicDirectory(fs::path final_path) : final_(named_path(std::move(final_path))) {
  std::error_code error;
  if (fs::is_symlink(final_, error) && fs::is_directory(final_, error)) {
    final_ = fs::canonical(final_);  // a link to a directory stays a link
  }
  make_parent(final_);
  remove_leftovers(final_);
  while (lock_ < 0) {
    temporary_ = name_for(final_);
    if (::mkdir(temporary_.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      fail_write(final_, errno, "create");
    }
    lock_ = ::open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (lock_ < 0 && errno != ENOENT) fail_write(final_, errno, "create");
    if (lock_ >= 0 && !lock(lock_)) ::close(std::exchange(lock_, -1));
  }
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void AtomicDirectory::commit(bool replace) {
  if (committed_) fail(ErrorKind::kInternal, "write", "commit called twice");
  commit_directory(temporary_, final_, replace);
  committed_ = true;
}

void temporary::commit_directory(const fs::path& from, const fs::path& to, bool replace) {
  sync_tree(from);
  std::error_code ignored;
  if (fs::exists(fs::symlink_status(to, ignored))) {
    if (!replace) fail_exists("write", to);
    refuse_precious("write", to);
    exchange(from, to);
  } else if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) fail_exists("write", to);
    if (errno != EINVAL && errno != ENOSYS) fail_write(to, errno, "rename");
    if (::rename(from.c_str(), to.c_str()) != 0) fail_write(to, errno, "rename");
  }
  sync_parent(to);
  fs::remove_all(from, ignored);  // what exchange() left there
}

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void check_output(std::string_view operation, const fs::path& out, bool force) {
  const fs::path path = named_path(out);
  if (const auto size = path.filename().string().size(); size > kLongestName) {
    fail(ErrorKind::kUsage, operation,
         fmt::format("expected a name of at most {} bytes, found {}", kLongestName, size));
  }
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(path, ignored);
  if (fs::exists(status)) {
    if (!force) fail_exists(operation, out);
    refuse_precious(operation, path);
  }
  fs::path parent = path.parent_path();
  while (!fs::exists(parent, ignored) && parent.has_relative_path()) parent = parent.parent_path();
  const bool is_dir = fs::is_directory(parent, ignored);
  if (is_dir && ::access(parent.c_str(), W_OK | X_OK) == 0) return;
  fail(ErrorKind::kResource, operation,
       fmt::format(
           "cannot write {}: {}", shown(out),
           is_dir ? std::strerror(errno) : fmt::format("{} is not a directory", shown(parent))),
       "choose a place you may write to");
}

}  // namespace lancet
