#pragma once
// What must hold for every tokenizer that a hostile file became; shared by the fuzz targets.

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"
#include "tests/fuzz/broken.h"

namespace lancet::fuzz {

inline constexpr std::string_view kText =
    "Hello  wor\xC3\xA9ld's <s></s> 123 \xE4\xB8\xAD\xF0\x9F\x98\x80\r\n \xE2\x96\x81"
    "ab";

/// Encodes a text into ids of the vocabulary with spans inside the text, decodes them, streams
/// them.
inline void use(const Tokenizer& tokenizer) {
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
  streamed += stream.finish();
  if (find_invalid_utf8(streamed)) broken("streamed text is UTF-8");
  static_cast<void>(tokenizer.decode(encoding.ids, true));
}

/// Reads and uses a tokenizer; only errors of a hostile file may leave it.
template <typename Read>
void try_tokenizer(Read&& read) {
  try {
    use(read());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput && error.kind() != ErrorKind::kMismatch) {
      broken("only input errors leave the reader");
    }
  }
}

}  // namespace lancet::fuzz
