// libFuzzer target: any bytes as a tiktoken rank file either are an input error or a tokenizer that
// keeps the rules. A file needs all 256 bytes: they are put behind what the fuzzer makes, unless it
// begins with '#'.

#include "core/base64.h"
#include "core/json.h"
#include "formats/tokenizer/tiktoken.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "tests/fuzz/tokenizer_rules.h"

namespace {

std::string single_bytes() {
  std::string out;
  for (int byte = 0; byte < 256; ++byte) {
    out += lancet::encode_base64(std::string(1, static_cast<char>(byte))) + " " +
           std::to_string(byte) + "\n";
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string kBytes = single_bytes();
  std::string text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('#')) {
    text.erase(0, 1);
  } else {
    text += "\n" + kBytes;
  }
  lancet::fuzz::try_tokenizer([&] {
    return lancet::Tokenizer(
        lancet::make_tiktoken(text, lancet::Json::object(), {"ranks.tiktoken", "", 0}));
  });
  return 0;
}
