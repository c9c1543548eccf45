#include "distill/train/events.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/temporary.h"

namespace lancet {
namespace {

/// Reflected polynomial of CRC-32C, a byte at a time.
constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    table[byte] = crc;
  }
  return table;
}();

// Protobuf's wire: a field begins with its number and the kind of what follows.
enum Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

void put_field(std::string& out, unsigned number, Wire wire) {
  put_varint(out, number << 3 | wire);
}

template <typename T>
void put_fixed(std::string& out, T value) {
  char bytes[sizeof(T)];
  store_le(bytes, value);
  out.append(bytes, sizeof(T));
}

void put_bytes(std::string& out, unsigned number, std::string_view bytes) {
  put_field(out, number, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Event{wall_time, step}, to be continued.
std::string event(std::int64_t step) {
  std::string out;
  put_field(out, 1, kFixed64);
  put_fixed(out, wall_time());
  put_field(out, 2, kVarint);
  put_varint(out, static_cast<std::uint64_t>(step));
  return out;
}

/// SummaryMetadata{1 plugin_data{1 plugin_name: "scalars"}}: newer readers ask for it.
std::string scalar_metadata() {
  std::string plugin, out;
  put_bytes(plugin, 1, "scalars");
  put_bytes(out, 1, plugin);
  return out;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) noexcept {
  std::uint32_t crc = 0xffffffffU;
  for (const char c : bytes)
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return crc ^ 0xffffffffU;
}

std::uint32_t masked_crc32c(std::string_view bytes) noexcept {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8U;
}

EventFile::EventFile(const std::filesystem::path& folder, std::int64_t resume_step) {
  static std::atomic<unsigned> count{0};
  const auto seconds = static_cast<std::int64_t>(wall_time());
  path_ = folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", seconds, host_name(),
                               ::getpid(), count++);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) temporary::fail_write(path_, errno);
  std::string version = event(0);
  put_bytes(version, 3, "brain.Event:2");
  frame(version);
  // At step 0, too: a run may have died before its first checkpoint, in this folder.
  std::string start = event(resume_step > 0 ? resume_step + 1 : 0), session;
  put_field(session, 1, kVarint);
  put_varint(session, 1);  // SessionStatus START
  put_bytes(start, 7, session);
  frame(start);
}

EventFile::~EventFile() {
  if (fd_ >= 0) ::close(fd_);
}

void EventFile::scalars(std::int64_t step,
                        const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    std::string one;
    put_bytes(one, 1, tag);
    put_field(one, 2, kFixed32);
    put_fixed(one, static_cast<float>(value));
    put_bytes(one, 9, scalar_metadata());
    put_bytes(summary, 1, one);
  }
  std::string out = event(step);
  put_bytes(out, 5, summary);
  frame(out);
}

void EventFile::frame(std::string_view payload) {
  std::string out;
  put_fixed(out, static_cast<std::uint64_t>(payload.size()));
  const std::string length = out;
  put_fixed(out, masked_crc32c(length));
  out += payload;
  put_fixed(out, masked_crc32c(payload));
  std::string_view rest = out;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(fd_, rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) temporary::fail_write(path_, errno);
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

}  // namespace lancet
