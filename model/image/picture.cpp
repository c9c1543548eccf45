#include "model/image/picture.h"

#include <algorithm>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <png.h>
#include <turbojpeg.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint64_t kLargestFile = 1ULL << 30;
constexpr std::int64_t kMostPixels = 1LL << 26;

[[noreturn]] void fail_picture(const fs::path& path, const std::string& found) {
  fail(ErrorKind::kInput, "image",
       fmt::format("{}: expected a PNG or JPEG picture, found {}", printable(path.string(), 400),
                   found));
}

/// kInput unless a picture of this size may be read.
void check_size(const fs::path& path, std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1 || width > kMostPixels / height)
    fail_picture(path,
                 fmt::format("{} x {} pixels (at most {} are read)", width, height, kMostPixels));
}

/// Four bytes a pixel, the fourth one its opacity, onto white.
Picture onto_white(const std::vector<std::uint8_t>& rgba, std::int64_t width, std::int64_t height) {
  Picture out{width, height, std::vector<std::uint8_t>(rgba.size() / 4 * 3)};
  for (std::size_t pixel = 0; pixel < rgba.size() / 4; ++pixel) {
    const double alpha = rgba[4 * pixel + 3] / 255.0;
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint8_t value = rgba[4 * pixel + c];
      out.rgb[3 * pixel + c] = rgba[4 * pixel + 3] == 255
                                   ? value
                                   : static_cast<std::uint8_t>((1 - alpha) * 255 + alpha * value);
    }
  }
  return out;
}

Picture read_png(const fs::path& path, const std::string& bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, decltype(&png_image_free)> freed(&image, png_image_free);
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0)
    fail_picture(path, printable(image.message));
  check_size(path, image.width, image.height);
  image.format = PNG_FORMAT_RGBA;
  std::vector<std::uint8_t> rgba(PNG_IMAGE_SIZE(image));
  if (png_image_finish_read(&image, nullptr, rgba.data(), 0, nullptr) == 0)
    fail_picture(path, printable(image.message));
  return onto_white(rgba, image.width, image.height);
}

Picture read_jpeg(const fs::path& path, const std::string& bytes) {
  const std::unique_ptr<void, decltype(&tjDestroy)> reader(tjInitDecompress(), tjDestroy);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0, height = 0, sampling = 0, colours = 0;
  if (tjDecompressHeader3(reader.get(), data, bytes.size(), &width, &height, &sampling, &colours) !=
      0)
    fail_picture(path, printable(tjGetErrorStr2(reader.get())));
  check_size(path, width, height);
  Picture out{width, height,
              std::vector<std::uint8_t>(3 * static_cast<std::size_t>(width) *
                                        static_cast<std::size_t>(height))};
  if (tjDecompress2(reader.get(), data, bytes.size(), out.rgb.data(), width, 0, height, TJPF_RGB,
                    TJFLAG_ACCURATEDCT) != 0)
    fail_picture(path, printable(tjGetErrorStr2(reader.get())));
  return out;
}

}  // namespace

Picture read_picture(const fs::path& path) {
  const std::string bytes = read_file(path, kLargestFile);
  if (bytes.starts_with("\x89PNG")) return read_png(path, bytes);
  if (bytes.starts_with("\xFF\xD8")) return read_jpeg(path, bytes);
  fail_picture(path, "another kind of file");
}

Picture middle_of(const Picture& picture, std::int64_t width, std::int64_t height) {
  const std::int64_t left = (picture.width - width) / 2, top = (picture.height - height) / 2;
  Picture out{width, height, {}};
  out.rgb.reserve(static_cast<std::size_t>(3 * width * height));
  for (std::int64_t y = 0; y < height; ++y) {
    const auto row = picture.rgb.begin() + 3 * ((top + y) * picture.width + left);
    out.rgb.insert(out.rgb.end(), row, row + 3 * width);
  }
  return out;
}

}  // namespace lancet
