#include "surgery/statistics/corpus.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "model/generate.h"

namespace lancet {
namespace {

constexpr std::size_t kGroupBytes = 64 << 10;  ///< of text, at least, in a group of documents
constexpr std::int64_t kOwnDocuments = 32;     ///< that the model writes side by side
constexpr std::int64_t kOwnTokens = 128;
constexpr const char* kOpenings[] = {
    "The",  "In",   "A",       "It",    "This",  "I",      "When", "There", "He",  "She", "We",
    "They", "What", "Because", "For",   "After", "You",    "If",   "While", "One", "As",  "At",
    "On",   "Many", "How",     "Today", "Most",  "During", "From", "Some",  "To",  "By"};

/// A document ends where its last line does, be it in the middle of a file or at its end.
std::string_view without_end_breaks(std::string_view text) {
  while (text.starts_with('\n') || text.starts_with('\r')) text.remove_prefix(1);
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

class TextCorpus final : public Corpus {
 public:
  explicit TextCorpus(const std::vector<fs::path>& files) : files_(files) {}

  std::vector<std::string> next() override {
    std::vector<std::string> out;
    std::size_t bytes = 0;
    while (bytes < kGroupBytes) {
      const auto document = read_one();
      if (!document) break;
      if (document->find_first_not_of(" \t\r\n") == std::string::npos) continue;
      bytes += document->size();
      out.push_back(*document);
    }
    return out;
  }

  void skip() override { (void)next(); }

  [[nodiscard]] Json identity() const override {
    Json out = Json::array();
    for (const fs::path& file : files_) out.push_back(sha256_file(file));
    return {{"texts", out}, {"line_breaks", "inside"}};
  }

 private:
  std::optional<std::string> read_one() {
    while (!open_ || at_ >= open_->size()) {
      if (file_ == files_.size()) return std::nullopt;
      open_.emplace(files_[file_++]);
      at_ = line_ = 0;
    }
    const Bytes bytes = open_->bytes();
    const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const bool lines = open_->path().extension() == ".jsonl";
    const std::string_view border = lines ? "\n" : "\n\n";
    const std::size_t end = std::min(all.find(border, at_), all.size());
    const std::string_view part = all.substr(at_, end - at_);
    at_ = end + border.size();
    ++line_;
    return lines ? text_of(part) : std::string(without_end_breaks(part));
  }

  [[nodiscard]] std::string text_of(std::string_view line) const {
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) return {};
    const std::string where = fmt::format("{}:{}", open_->path().string(), line_);
    return json_string(parse_json(line, where), "text", where);
  }

  std::vector<fs::path> files_;
  std::size_t file_ = 0, at_ = 0, line_ = 0;
  std::optional<MappedFile> open_;
};

class OwnCorpus final : public Corpus {
 public:
  OwnCorpus(const Decoder& model, const Tokenizer& tokenizer, std::uint64_t seed)
      : model_(model),
        tokenizer_(tokenizer),
        seed_(seed),
        length_(std::clamp<std::int64_t>(model.spec().max_positions / 2, 1, kOwnTokens)) {}

  std::vector<std::string> next() override {
    std::vector<Prompt> prompts;
    for (std::int64_t i = 0; i < kOwnDocuments; ++i)
      prompts.push_back({"", kOpenings[static_cast<std::size_t>(i) % std::size(kOpenings)], true});
    SamplingOptions options;
    options.max_tokens = length_;
    options.temperature = 1;
    const auto texts = generate(model_, tokenizer_, prompts, options, seed_ + group_++);
    std::vector<std::string> out;
    for (std::size_t i = 0; i < texts.size(); ++i) out.push_back(prompts[i].text + texts[i].text);
    return out;
  }

  void skip() override { ++group_; }

  [[nodiscard]] Json identity() const override {
    return {{"self_generated", {{"seed", seed_}, {"tokens", length_}, {"temperature", 1}}}};
  }

 private:
  const Decoder& model_;
  const Tokenizer& tokenizer_;
  std::uint64_t seed_, group_ = 0;
  std::int64_t length_;  ///< tokens of a document: a short model's positions hold it too
};

}  // namespace

std::unique_ptr<Corpus> text_corpus(const std::vector<fs::path>& files) {
  return std::make_unique<TextCorpus>(files);
}

std::unique_ptr<Corpus> own_corpus(const Decoder& model, const Tokenizer& tokenizer,
                                   std::uint64_t seed) {
  return std::make_unique<OwnCorpus>(model, tokenizer, seed);
}

}  // namespace lancet
