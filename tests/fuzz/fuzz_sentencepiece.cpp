// libFuzzer target: any bytes as a SentencePiece model either are an input error or a tokenizer
// that keeps the rules; its tokenizer.json loads again.

#include "formats/tokenizer/sentencepiece.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "tests/fuzz/tokenizer_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const lancet::Where where{"tokenizer.model", "", 0};
  lancet::fuzz::try_tokenizer([&] {
    const lancet::Tokenizer tokenizer(
        lancet::make_sentencepiece(lancet::parse_sentencepiece(bytes, where), where));
    static_cast<void>(tokenizer.json());
    return tokenizer;
  });
  return 0;
}
