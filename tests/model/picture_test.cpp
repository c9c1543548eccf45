// Pictures: decoded and resampled as by Pillow (tests/oracle/make_picture_goldens.py), and refused
// when they are none.

#include "model/image/picture.h"

#include <fmt/format.h>

#include "core/error.h"
#include "tests/core/scratch.h"
#include "tests/torch_catch.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const fs::path kFolder = fs::path(LANCET_TEST_DATA) / "pictures";

std::vector<std::uint8_t> stored(const std::string& name) {
  const std::string bytes = read_file(kFolder / (name + ".rgb"));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("pictures: PNG and JPEG have Pillow's pixels, what is transparent is white") {
  for (const std::string name : {"wide.png", "clear.png", "grey.png", "tall.jpg"}) {
    INFO(name);
    const Picture picture = read_picture(kFolder / name);
    CHECK(picture.rgb == stored(name.substr(0, name.find('.'))));
    CHECK(picture.width * picture.height * 3 == std::ssize(picture.rgb));
  }
}

TEST_CASE("pictures: resampled to the bytes of Pillow's Lanczos") {
  for (const auto& [name, width, height] : {std::tuple{"wide.png", 24, 15},
                                            {"wide.png", 50, 31},
                                            {"wide.png", 37, 11},
                                            {"wide.png", 20, 23},
                                            {"tall.jpg", 16, 24}}) {
    INFO(name << ' ' << width << ' ' << height);
    const Picture out = resized(read_picture(kFolder / name), width, height);
    CHECK(out.width == width);
    CHECK(out.height == height);
    CHECK(out.rgb ==
          stored(fmt::format("{}-{}x{}", std::string(name).substr(0, 4), width, height)));
  }
}

TEST_CASE("pictures: the middle is cut out by whole pixels") {
  Picture picture{5, 4, {}};
  for (std::uint8_t i = 0; i < 60; ++i) picture.rgb.push_back(i);
  const Picture cut = middle_of(picture, 2, 2);
  CHECK(cut.rgb == std::vector<std::uint8_t>{18, 19, 20, 21, 22, 23, 33, 34, 35, 36, 37, 38});
  CHECK(middle_of(picture, 5, 4).rgb == picture.rgb);
}

TEST_CASE("pictures: what is none, cut short or too large is an input error with the file's name") {
  const Scratch scratch;
  const auto refused = [&](const std::string& bytes) {
    write_file(scratch / "p", bytes);
    try {
      static_cast<void>(read_picture(scratch / "p"));
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInput &&
             std::string(error.what()).find("/p") != std::string::npos;
    }
    return false;
  };
  CHECK(refused(""));
  CHECK(refused("P6 1 1 255 abc"));
  for (const std::string name : {"wide.png", "tall.jpg"}) {
    const std::string whole = read_file(kFolder / name);
    for (std::size_t size = 0; size < whole.size() - 16; size += 7) {
      INFO(name << " cut at " << size);
      CHECK(refused(whole.substr(0, size)));
    }
  }
  std::string large = read_file(
      kFolder / "wide.png");  // claims 2^24 columns; the sum of its header no longer fits, either
  large[16] = 1;
  CHECK(refused(large));
}
