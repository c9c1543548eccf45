#pragma once
// TensorBoard event files: TFRecord frames around Event protobufs, both written by hand.
// Frame: u64 length, u32 masked CRC32C of the length's bytes, payload, u32 masked CRC32C of the
// payload (little-endian); mask(c) = rotate_right(c, 15) + 0xa282ead8.
// Event (tensorflow/core/util/event.proto): 1 wall_time double, 2 step int64, 3 file_version
// string, 5 summary, 7 session_log. Summary: 1 repeated Value{1 tag, 2 simple_value float,
// 9 metadata}.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lancet {

/// CRC-32C (Castagnoli) of bytes, as RFC 3720 has it.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes) noexcept;
[[nodiscard]] std::uint32_t masked_crc32c(std::string_view bytes) noexcept;

class EventFile {
 public:
  /// Makes FOLDER/events.out.tfevents.TIME.HOST.PID.N. With `resume_step` > 0 the file begins with
  /// a session start at resume_step + 1: TensorBoard then forgets what earlier files say of it and
  /// later steps. kResource when it cannot be made or written.
  EventFile(const std::filesystem::path& folder, std::int64_t resume_step);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// One event with all values; on disk when this returns.
  void scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values);
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  void frame(std::string_view payload);
};

}  // namespace lancet
