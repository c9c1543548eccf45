// libFuzzer target: any tokenizer.json either is an input error or a tokenizer that keeps the
// rules, read as text and read as JSON values alike.

#include "core/json.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "tests/fuzz/tokenizer_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  lancet::fuzz::try_tokenizer([&] {
    return lancet::Tokenizer::from_json(lancet::parse_json(text, "tokenizer.json"),
                                        "tokenizer.json");
  });
  lancet::fuzz::try_tokenizer(
      [&] { return lancet::Tokenizer(lancet::make_tokenizer(text, "tokenizer.json")); });
  return 0;
}
