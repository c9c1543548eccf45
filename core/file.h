#pragma once
// Files: read by map or pread, written into a temporary sibling that is fsynced and renamed.
// Errors: kInput when a file to read is missing or unreadable, kResource when writing fails (disk
// full, permissions), always with the path and the system's own words.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace lancet {

namespace fs = std::filesystem;

/// A read-only private mapping of a whole regular file. Movable; the bytes live as long as the
/// object.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);
  ~MappedFile();
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] Bytes bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }
  /// Asks the kernel to read the range ahead of its use.
  void prefetch(std::uint64_t offset, std::uint64_t length) const noexcept;
  /// Tells the kernel that the range has been used: keeps streaming in bounded memory.
  void release(std::uint64_t offset, std::uint64_t length) const noexcept;
  /// Throws kInput if the file on disk was truncated or changed since it was mapped.
  void check_unchanged() const;

 private:
  fs::path path_;
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::int64_t modified_ns_ = 0;
};

/// Reads a whole file of at most `limit` bytes (kInput if larger).
[[nodiscard]] std::string read_file(const fs::path& path, std::uint64_t limit = 1ULL << 30);

/// A file under construction: `path` appears only at commit(), complete and fsynced; without commit
/// the temporary sibling is removed by the destructor.
class AtomicFile {
 public:
  explicit AtomicFile(fs::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Reserves disk space for `size` bytes now, so that a full disk is met before the work.
  void reserve(std::uint64_t size);
  void write(Bytes bytes);
  void write(std::string_view text);
  [[nodiscard]] std::uint64_t written() const noexcept { return written_; }
  void commit();

 private:
  fs::path path_;
  fs::path temporary_;
  int fd_ = -1;
  std::uint64_t written_ = 0;
  std::string buffer_;
  void flush();
  void write_all(std::string_view text);
};

/// A directory under construction: files are written into path(); commit() renames it to the final
/// name (with replace, an existing directory is swapped out and removed afterwards). Removed if not
/// committed. Leftovers of killed runs (same final name) are removed by the constructor.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(fs::path final_path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  [[nodiscard]] const fs::path& path() const noexcept { return temporary_; }
  void commit(bool replace = false);

 private:
  fs::path final_;
  fs::path temporary_;
  int lock_ = -1;  ///< held while the temporary is ours
  bool committed_ = false;
};

/// write + fsync + rename in one call.
void write_file(const fs::path& path, std::string_view text);

/// Throws kUsage when `out` exists and `force` is false; kResource when its parent cannot be
/// written.
void check_output(std::string_view operation, const fs::path& out, bool force);

/// $LANCET_CACHE, else $XDG_CACHE_HOME/lancet, else ~/.cache/lancet. Created on demand.
[[nodiscard]] fs::path user_cache_dir();

/// Where the files that ship with lancet lie (share/lancet of the install tree, `share/` of the
/// source tree for a build), found from the running binary; $LANCET_SHARE overrides.
[[nodiscard]] fs::path share_dir();

}  // namespace lancet
