#pragma once
// Pictures from files, and the resampling that models of images were trained behind.

#include <cstdint>
#include <vector>

#include "core/file.h"

namespace lancet {

/// Rows from the top, three bytes (red, green, blue) a pixel.
struct Picture {
  std::int64_t width = 0, height = 0;
  std::vector<std::uint8_t> rgb;
};

/// A PNG or JPEG file, what is transparent blended onto white. kInput for anything else, a damaged
/// file, or more than 2^26 pixels.
[[nodiscard]] Picture read_picture(const fs::path& path);

/// Lanczos with a window of three, in bytes with coefficients of 22 bits, first along the rows and
/// then along the columns: the bytes of Pillow's `Image.resize(..., LANCZOS)`.
[[nodiscard]] Picture resized(const Picture& picture, std::int64_t width, std::int64_t height);

/// The middle of a picture that is at least as large.
[[nodiscard]] Picture middle_of(const Picture& picture, std::int64_t width, std::int64_t height);

}  // namespace lancet
