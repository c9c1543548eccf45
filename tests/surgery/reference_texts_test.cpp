// RS: similarities are scikit-learn's (tests/oracle/make_tfidf_goldens.py), files that do not fit
// are refused.
#include "surgery/files/reference_texts.h"

#include "core/error.h"
#include "core/json.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const fs::path kFolder = fs::path(LANCET_TEST_DATA) / "reference_texts";

}  // namespace

TEST_CASE("reference texts: similarities are those of scikit-learn's vectors") {
  const ReferenceTexts texts = ReferenceTexts::open(kFolder, {{"P103", "Q150"}});
  const Json expected = read_json(kFolder / "expected.json");
  CHECK(expected.size() == 30);
  for (const Json& pair : expected) {
    INFO(pair.dump());
    const auto found =
        texts.similarity(pair["written"].get<std::string>(), pair["reference"].get<std::string>());
    REQUIRE(found.has_value() == !pair["similarity"].is_null());
    if (found)
      CHECK(*found == Approx(pair["similarity"].get<double>()).epsilon(1e-12).margin(1e-15));
  }
}

TEST_CASE("reference texts: those of an answer are joined, others are not kept") {
  const ReferenceTexts texts = ReferenceTexts::open(kFolder, {{"P103", "Q150"}, {"P36", "Q1"}});
  const std::string* french = texts.about({"P103", "Q150"});
  REQUIRE(french != nullptr);
  CHECK(*french ==
        "Marie was born in Paris. Her mother tongue is French, and she wrote in French. Zoé speaks "
        "French; her novels_of_1900 were printed in Lyon.");
  CHECK(texts.about({"P103", "Q1860"}) == nullptr);
  CHECK(texts.about({"P36", "Q1"}) == nullptr);
  CHECK(texts.about({"", ""}) == nullptr);
}

TEST_CASE("reference texts: files that are missing, damaged or do not fit are input errors") {
  const Scratch scratch;
  const auto refused = [&](const std::string& name, const std::string& text) {
    const fs::path folder = scratch / "texts";
    fs::remove_all(folder);
    fs::copy(kFolder, folder);
    if (text.empty()) {
      fs::remove(folder / name);
    } else {
      write_file(folder / name, text);
    }
    try {
      static_cast<void>(ReferenceTexts::open(folder, {{"P103", "Q150"}}));
    } catch (const Error& error) {
      return error.kind() == ErrorKind::kInput;
    }
    return false;
  };
  for (const std::string name : {"attribute_snippets.json", "tfidf_vocab.json", "idf.npy"}) {
    CHECK(refused(name, ""));
    CHECK(refused(name, "nothing of the kind"));
    CHECK(refused(name, "[1, 2"));
  }
  CHECK(refused("tfidf_vocab.json", R"({"french": 100000})"));
  CHECK(refused("tfidf_vocab.json", R"({"french": "1"})"));
  CHECK(refused("attribute_snippets.json", R"({"P103": {"Q150": [{"name": "no text"}]}})"));
  CHECK(refused("attribute_snippets.json", R"({"P103": {"Q150": ["a text"]}})"));
  CHECK(refused("attribute_snippets.json", R"([])"));
}
