// libFuzzer target: any tokenizer.json either is an input error or a tokenizer that encodes a text
// into ids of its vocabulary, with spans inside the text, and decodes them.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"

namespace {

using lancet::Encoding;
using lancet::Error;
using lancet::ErrorKind;
using lancet::StreamDecoder;
using lancet::Tokenizer;

constexpr std::string_view kText =
    "Hello  wor\xC3\xA9ld's <s></s> 123 \xE4\xB8\xAD\xF0\x9F\x98\x80\r\n \xE2\x96\x81"
    "ab";

[[noreturn]] void broken(const char* rule) {
  std::fprintf(stderr, "broken rule: %s\n", rule);
  std::abort();
}

void use(const Tokenizer& tokenizer) {
  const Encoding encoding = tokenizer.encode(kText);
  if (encoding.ids.size() != encoding.offsets.size()) broken("one span for each token");
  StreamDecoder stream(tokenizer, false);
  std::string streamed;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    if (begin > end || end > kText.size()) broken("spans lie in the text");
    if (encoding.ids[i] < 0 || encoding.ids[i] >= tokenizer.vocab_size()) {
      broken("ids lie in the vocabulary");
    }
    streamed += stream.push(encoding.ids[i]);
  }
  static_cast<void>(stream.finish());
  static_cast<void>(tokenizer.decode(encoding.ids, true));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    use(Tokenizer::from_json(lancet::parse_json(text, "tokenizer.json"), "tokenizer.json"));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput && error.kind() != ErrorKind::kMismatch) {
      broken("only input errors leave the reader");
    }
  }
  return 0;
}
