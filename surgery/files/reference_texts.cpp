#include "surgery/files/reference_texts.h"

#include <cmath>
#include <cstdlib>
#include <memory>

#include <fmt/format.h>
#include <utf8proc.h>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "formats/containers/npz.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::uint64_t kLargestFile = 4ULL << 30;
constexpr std::size_t kMostWords = 1U << 24;

[[noreturn]] void fail_references(const fs::path& path, std::string_view expected,
                                  std::string_view found) {
  fail(ErrorKind::kInput, "probe",
       fmt::format("{}: expected {}, found {}", printable(path.string(), 400), expected, found),
       "--reference-texts wants the folder of attribute_snippets.json, idf.npy and "
       "tfidf_vocab.json that is published with ROME");
}

bool in_word(char32_t c) { return c == U'_' || (char_classes()[c] & (kLetter | kNumber)) != 0; }

/// visit(word) for each word of a valid UTF-8 text.
template <typename Visit>
void for_words(std::string_view text, const Visit& visit) {
  std::string word;
  std::size_t length = 0;
  const auto end = [&] {
    if (length >= 2) visit(word);
    word.clear();
    length = 0;
  };
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (!in_word(c)) {
      end();
      continue;
    }
    append_utf8(word, c);
    ++length;
  }
  end();
}

std::string lower(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) append_lowercase(out, next_code_point(text, at));
  return out;
}

std::string decomposed(const std::string& text) {
  std::uint8_t* mapped = nullptr;
  const auto size = utf8proc_map(
      reinterpret_cast<const std::uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(text.size()), &mapped,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT));
  const std::unique_ptr<std::uint8_t, decltype(&std::free)> owned(mapped, std::free);
  return size < 0
             ? text
             : std::string(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size));
}

double length_of(const std::map<std::size_t, double>& vector) {
  double sum = 0;
  for (const auto& [word, value] : vector) sum += value * value;
  return std::sqrt(sum);
}

}  // namespace

ReferenceTexts ReferenceTexts::open(const fs::path& folder, const std::set<Answer>& answers) {
  ReferenceTexts out;
  out.read_idf(folder / "idf.npy");
  out.read_vocabulary(folder / "tfidf_vocab.json");
  out.read_texts(folder / "attribute_snippets.json", answers);
  return out;
}

void ReferenceTexts::read_idf(const fs::path& path) {
  const MappedFile file(path);
  const NpyArray array = parse_npy(file.bytes(), path.string());
  if (array.shape.size() != 1 || static_cast<std::size_t>(array.shape[0]) > kMostWords)
    fail_references(path, "a vector", fmt::format("{} dimensions", array.shape.size()));
  for (std::int64_t i = 0; i < array.shape[0]; ++i) {
    idf_.push_back(npy_number(array, static_cast<std::uint64_t>(i), path.string()));
    if (!std::isfinite(idf_.back())) fail_references(path, "finite values", "others");
  }
}

void ReferenceTexts::read_vocabulary(const fs::path& path) {
  const Json words = read_json(path, kLargestFile);
  if (!words.is_object()) fail_references(path, "an object of word numbers", words.type_name());
  for (const auto& [word, place] : words.items()) {
    if (!place.is_number_integer() || place < 0 || place >= idf_.size())
      fail_references(path,
                      fmt::format("word numbers below {}, the length of idf.npy", idf_.size()),
                      place.dump());
    vocabulary_.emplace(word, place.get<std::size_t>());
  }
}

void ReferenceTexts::read_texts(const fs::path& path, const std::set<Answer>& answers) {
  const MappedFile file(path);
  const auto* text = reinterpret_cast<const char*>(file.bytes().data());
  // {relation: {answer: [{"name", "text"}]}}; answers that nobody asks for are dropped as they
  // come.
  Answer here;
  const auto keep = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event != Json::parse_event_t::key) return true;
    if (depth == 1) here.first = value.get<std::string>();
    if (depth == 2) here.second = value.get<std::string>();
    return depth != 2 || answers.contains(here);
  };
  const Json all = file.size() == 0 ? Json() : Json::parse(text, text + file.size(), keep, false);
  if (!all.is_object()) fail_references(path, "an object of relations", "other JSON, or none");
  for (const auto& [relation, by_answer] : all.items()) {
    for (const auto& [answer, snippets] : by_answer.items()) {
      std::string& joined = texts_[{relation, answer}];
      for (const Json& snippet : snippets) {
        if (!snippet.is_object() || !snippet.contains("text") || !snippet["text"].is_string())
          fail_references(path,
                          fmt::format("texts of {} and {}", printable(relation), printable(answer)),
                          snippet.type_name());
        joined += (joined.empty() ? "" : " ") + snippet["text"].get<std::string>();
      }
    }
  }
}

const std::string* ReferenceTexts::about(const Answer& answer) const {
  const auto found = texts_.find(answer);
  return found == texts_.end() || found->second.empty() ? nullptr : &found->second;
}

std::map<std::size_t, double> ReferenceTexts::vector_of(std::string_view text) const {
  std::map<std::size_t, double> out;
  for_words(lower(text), [&](const std::string& word) {
    if (const auto found = vocabulary_.find(word); found != vocabulary_.end())
      out[found->second] += idf_[found->second];
  });
  return out;
}

std::optional<double> ReferenceTexts::similarity(std::string_view written,
                                                 std::string_view reference) const {
  const auto a = vector_of(decomposed(utf8_lossy(written))), b = vector_of(utf8_lossy(reference));
  const double lengths = length_of(a) * length_of(b);
  if (lengths == 0) return std::nullopt;
  double dot = 0;
  for (const auto& [word, value] : a) {
    if (const auto found = b.find(word); found != b.end()) dot += value * found->second;
  }
  return dot / lengths;
}

}  // namespace lancet
