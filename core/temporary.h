#pragma once
// Temporary siblings of files and directories under construction, named `.NAME.lancet-PID-N.tmp`.
// Their owner holds a lock (flock) on them, so that a later run can tell a leftover from the work
// of a living process.

#include <string>
#include <string_view>

#include "core/file.h"

namespace lancet::temporary {

/// "'path'", safe to print.
[[nodiscard]] std::string shown(const fs::path& path);
/// Throws kResource with the system's words for `error` (an errno).
[[noreturn]] void fail_write(const fs::path& path, int error, std::string_view verb = "write");

/// Absolute, plain_path() and without a trailing slash; kUsage when no name is left.
[[nodiscard]] fs::path named_path(fs::path path);
void make_parent(const fs::path& path);
/// A new name beside `path`, different at every call.
[[nodiscard]] fs::path name_for(const fs::path& path);
/// Removes the temporaries of `path` that nobody holds; where locks are unknown, those of dead
/// processes.
void remove_leftovers(const fs::path& path);
/// Locks a new temporary. False if another run took it for a leftover before the lock stood.
[[nodiscard]] bool lock(int fd) noexcept;

/// Gives the complete directory `from` its final name; an existing one is swapped out and removed
/// when `replace`, else kUsage. Afterwards nothing is left of `from`.
void commit_directory(const fs::path& from, const fs::path& to, bool replace);

/// fsync of the directory that holds `path`, which may be named by a link.
void sync_parent(const fs::path& path);
/// fsync of everything below a directory, and of itself; links are left alone.
void sync_tree(const fs::path& dir);

/// Keeps other processes that ask for it out of a directory while it lives; where locks are
/// unknown, nobody. kResource when another process holds it.
class DirectoryLock {
 public:
  DirectoryLock(const fs::path& dir, std::string_view operation);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int fd_;
};

}  // namespace lancet::temporary
