#pragma once
// An owned file descriptor, pipes, and files that live in memory only. Everything is
// close-on-exec. Errors: kResource with the system's words.

#include <string>
#include <string_view>
#include <utility>

namespace lancet {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  [[nodiscard]] int get() const noexcept { return fd_; }
  void reset() noexcept;

 private:
  int fd_ = -1;
};

struct Pipe {
  Descriptor read, write;
};
[[nodiscard]] Pipe make_pipe();

/// A memory file holding `text`, positioned at its start.
[[nodiscard]] Descriptor make_memory_file(const char* name, std::string_view text);
[[nodiscard]] std::string read_memory_file(const Descriptor& file);

}  // namespace lancet
