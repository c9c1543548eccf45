#include "core/stream_file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/temporary.h"

namespace lancet {

using namespace temporary;

namespace {

constexpr std::size_t kBlocks = 4;
constexpr std::size_t kBlock = StreamFile::kMemory / kBlocks;
constexpr std::size_t kAlignment = 4096;
constexpr std::size_t kHugePage = 2U << 20;

struct Free {
  void operator()(std::byte* at) const noexcept { std::free(at); }
};
using Buffer = std::unique_ptr<std::byte, Free>;

Buffer aligned_block() {
  auto* at = static_cast<std::byte*>(std::aligned_alloc(kHugePage, kBlock));
  if (at == nullptr) throw std::bad_alloc();
  ::madvise(at, kBlock,
            MADV_HUGEPAGE);  // O_DIRECT pins every page; where there are none, small ones
  return Buffer(at);
}

void write_at(const fs::path& path, int fd, const std::byte* data, std::size_t size,
              std::uint64_t offset) {
  while (size > 0) {
    const ssize_t put = ::pwrite(fd, data, size, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail_write(path, put < 0 ? errno : ENOSPC);
    data += put;
    size -= static_cast<std::size_t>(put);
    offset += static_cast<std::uint64_t>(put);
  }
}

}  // namespace

struct StreamFile::State {
  fs::path path, temporary;
  int fd = -1;
  bool kept = false;  ///< without a commit, too
  std::atomic<bool> direct = false;
  std::uint64_t flushed = 0;  ///< handed to the writer
  std::size_t filled = 0;     ///< bytes in the current block
  std::size_t current = 0;
  std::array<Buffer, kBlocks> blocks;
  /// Block i is written by writer i % 2. Last: they stop before the blocks go.
  std::array<parallel::Background, 2> writers{parallel::Background(kBlocks / 2 - 1),
                                              parallel::Background(kBlocks / 2 - 1)};

  /// O_DIRECT off: for the tail of the file, and for good where the file system refuses it.
  void use_page_cache() {
    if (direct.exchange(false)) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_DIRECT);
  }
  void wait() {
    for (parallel::Background& writer : writers) writer.wait();
  }
  void put(const std::byte* data, std::size_t size, std::uint64_t offset) {
    if (direct && size % kAlignment == 0) {
      const ssize_t done = ::pwrite(fd, data, size, static_cast<off_t>(offset));
      if (done == static_cast<ssize_t>(size)) return;
      if (done < 0 && errno != EINVAL && errno != EINTR) fail_write(path, errno);
    }
    use_page_cache();
    write_at(path, fd, data, size, offset);
  }
};

StreamFile::StreamFile(fs::path path) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = named_path(std::move(path));
  make_parent(s.path);
  remove_leftovers(s.path);
  s.direct = true;
  while (s.fd < 0) {
    s.temporary = name_for(s.path);
    s.fd = ::open(s.temporary.c_str(),
                  O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | (s.direct ? O_DIRECT : 0), 0666);
    if (s.fd < 0 && errno == EINVAL && s.direct) {
      s.direct = false;  // tmpfs of older kernels
      ::unlink(s.temporary.c_str());
      continue;
    }
    if (s.fd < 0 && errno != EEXIST) fail_write(s.path, errno, "create");
    if (s.fd >= 0 && !lock(s.fd)) ::close(std::exchange(s.fd, -1));
  }
  for (Buffer& block : s.blocks) block = aligned_block();
}

StreamFile::StreamFile(fs::path path, fs::path part, std::uint64_t have)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.path = std::move(path);
  s.temporary = std::move(part);
  s.kept = true;
  for (Buffer& block : s.blocks) block = aligned_block();
  s.fd = ::open(s.temporary.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (s.fd < 0) fail_write(s.temporary, errno, "create");
  // What stands behind the last whole page comes back into the block that it was in.
  s.flushed = have / kAlignment * kAlignment;
  s.filled = static_cast<std::size_t>(have - s.flushed);
  const ssize_t tail = ::pread(s.fd, s.blocks[0].get(), s.filled, static_cast<off_t>(s.flushed));
  if (tail != static_cast<ssize_t>(s.filled) || (have == 0 && ::ftruncate(s.fd, 0) != 0)) {
    const int error = errno;
    ::close(std::exchange(s.fd, -1));
    fail_write(s.temporary, tail >= 0 && have > 0 ? EIO : error, "go on with");
  }
  s.direct = ::fcntl(s.fd, F_SETFL, ::fcntl(s.fd, F_GETFL) | O_DIRECT) == 0;
}

StreamFile::~StreamFile() {
  if (state_ == nullptr || state_->fd < 0) return;
  try {
    state_->wait();
  } catch (...) {  // the error that ended the writing has been thrown already
  }
  if (!state_->kept || state_->flushed == 0) ::unlink(state_->temporary.c_str());
  ::close(state_->fd);
}

void StreamFile::reserve(std::uint64_t size) {
  // The size grows at once: writes behind a file's end take turns.
  if (size == 0 || ::fallocate(state_->fd, 0, 0, static_cast<off_t>(size)) == 0) return;
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG)
    fail_write(state_->path, error, "reserve");
  struct statvfs disk {};
  if (::fstatvfs(state_->fd, &disk) != 0) return;
  if (checked_mul(disk.f_bavail, disk.f_frsize).value_or(size) < size)
    fail_write(state_->path, ENOSPC, "reserve");
}

void StreamFile::write(Bytes bytes) {
  State& s = *state_;
  while (!bytes.empty()) {
    const std::size_t take = std::min(bytes.size(), kBlock - s.filled);
    std::memcpy(s.blocks[s.current].get() + s.filled, bytes.data(), take);
    s.filled += take;
    bytes = bytes.subspan(take);
    if (s.filled < kBlock) continue;
    s.writers[s.current % s.writers.size()].push(
        [&s, data = s.blocks[s.current].get(), at = s.flushed] { s.put(data, kBlock, at); });
    s.flushed += std::exchange(s.filled, 0);
    s.current = (s.current + 1) % s.blocks.size();
  }
}

void StreamFile::commit() {
  State& s = *state_;
  if (s.fd < 0) fail(ErrorKind::kInternal, "write", "commit called twice");
  s.wait();
  const std::size_t whole = s.filled / kAlignment * kAlignment;
  const std::byte* data = s.blocks[s.current].get();
  if (whole > 0) s.put(data, whole, s.flushed);
  s.use_page_cache();
  write_at(s.path, s.fd, data + whole, s.filled - whole, s.flushed + whole);
  if (::ftruncate(s.fd, static_cast<off_t>(s.flushed + s.filled)) != 0) fail_write(s.path, errno);
  if (::fsync(s.fd) != 0) fail_write(s.path, errno, "sync");
  if (::rename(s.temporary.c_str(), s.path.c_str()) != 0) fail_write(s.path, errno, "rename");
  ::close(std::exchange(s.fd, -1));
  sync_parent(s.path);
}

}  // namespace lancet
