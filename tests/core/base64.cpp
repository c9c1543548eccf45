#include "core/base64.h"

#include "tests/catch.h"

using namespace lancet;

TEST_CASE("base64: the vectors of RFC 4648", "[core]") {
  const std::pair<std::string, std::string> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"},
                                                         {"\xFB\xFF", "+/8="}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(encode_base64(bytes) == text);
    CHECK(decode_base64(text) == bytes);
  }
}

TEST_CASE("base64: what is not base64 is refused", "[core]") {
  for (const std::string text :
       {"Zg=", "Zg", "Z===", "Zg==Zg==", "Zm9\n", "Zm9-", "=AAA", "\xFF\xFF\xFF\xFF"})
    CHECK_FALSE(decode_base64(text));
}
