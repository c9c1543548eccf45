#include "distill/rows/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "core/temporary.h"

namespace lancet {
namespace {

constexpr std::size_t kBuffer = 1 << 20;

/// Where O_TMPFILE is unknown: made under a name that is taken away at once.
int open_and_unlink(const fs::path& folder) {
  std::string name = (folder / ".lancet-spool-XXXXXX").string();
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd >= 0) ::unlink(name.c_str());
  return fd;
}

}  // namespace

Spool::Spool(const fs::path& beside) {
  const fs::path folder = beside.has_parent_path() ? beside.parent_path() : fs::path(".");
  fd_ = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd_ < 0) fd_ = open_and_unlink(folder);
  if (fd_ < 0) temporary::fail_write(folder, errno, "make a temporary file in");
}

Spool::~Spool() { ::close(fd_); }

void Spool::add_line(std::string_view line) {
  buffer_ += line;
  add("\n");
}

void Spool::add(std::string_view bytes) {
  buffer_ += bytes;
  if (buffer_.size() >= kBuffer) flush();
}

void Spool::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(fd_, rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) temporary::fail_write(path(), errno);
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  buffer_.clear();
}

void Spool::finish() { flush(); }

fs::path Spool::path() const { return "/proc/self/fd/" + std::to_string(fd_); }

}  // namespace lancet
