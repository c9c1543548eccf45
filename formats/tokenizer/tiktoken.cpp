#include "formats/tokenizer/tiktoken.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "core/base64.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/scanners.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

constexpr std::uint64_t kMergeWorkLimit = 1ULL << 32U;  // bytes looked at to find the merges

constexpr std::string_view kR50kPattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)";
constexpr std::string_view kCl100kPattern =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|)"
    R"(\s++$|\s*[\r\n]|\s+(?!\S)|\s)";
constexpr std::string_view kO200kPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct SpecialToken {
  TokenId id;
  std::string content;
};

/// A published file, known by the number of its ranks.
struct Layout {
  std::size_t ranks;
  std::string_view name;
  std::string_view pattern;
  bool nfc;
  bool bos;  ///< <|begin_of_text|> goes in front
};

constexpr std::array kLayouts = {
    Layout{50256, "r50k", kR50kPattern, false, false},
    Layout{50280, "p50k", kR50kPattern, false, false},
    Layout{100256, "cl100k", kCl100kPattern, false, false},
    Layout{128000, "llama3", kLlama3Pattern, false, true},
    Layout{151643, "qwen", kQwen2Pattern, true, false},
    Layout{199998, "o200k", kO200kPattern, false, false},
};
constexpr Layout kUnknownLayout = {0, "", kLlama3Pattern, false, false};

std::vector<SpecialToken> special_tokens(const Layout& layout) {
  if (layout.name == "r50k" || layout.name == "p50k") return {{50256, "<|endoftext|>"}};
  if (layout.name == "o200k") return {{199999, "<|endoftext|>"}, {200018, "<|endofprompt|>"}};
  if (layout.name == "cl100k") {
    return {{100257, "<|endoftext|>"},
            {100258, "<|fim_prefix|>"},
            {100259, "<|fim_middle|>"},
            {100260, "<|fim_suffix|>"},
            {100276, "<|endofprompt|>"}};
  }
  std::vector<SpecialToken> out;
  const auto add = [&](std::string content) {
    out.push_back({static_cast<TokenId>(layout.ranks + out.size()), std::move(content)});
  };
  if (layout.name == "qwen") {
    for (const char* content : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add(content);
    for (int i = 0; i < 205; ++i) add(fmt::format("<|extra_{}|>", i));
  }
  if (layout.name == "llama3") {
    for (const char* content :
         {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
          "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>",
          "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
          "<|eot_id|>", "<|python_tag|>"})
      add(content);
    for (int i = 3; out.size() < 256; ++i) add(fmt::format("<|reserved_special_token_{}|>", i));
  }
  return out;
}

struct RankFile {
  Vocabulary vocabulary;           ///< pieces in the byte alphabet
  std::vector<std::string> bytes;  ///< by rank; empty where a rank is left out
};

/// One "BASE64 RANK" line.
std::pair<std::string, TokenId> read_line(std::string_view line, std::size_t number,
                                          const Where& where) {
  const std::size_t space = line.find(' ');
  TokenId rank = -1;
  if (space != line.npos) {
    const char* end = line.data() + line.size();
    const auto [stop, code] = std::from_chars(line.data() + space + 1, end, rank);
    if (code != std::errc() || stop != end) rank = -1;
  }
  auto bytes = decode_base64(line.substr(0, space));
  if (rank < 0 || !bytes || bytes->empty()) {
    where.fail_input(fmt::format("line {}: expected base64, a space and a rank, found '{}'", number,
                                 printable(line, 80)));
  }
  return {std::move(*bytes), rank};
}

RankFile read_ranks(std::string_view text, const Where& where) {
  RankFile file;
  std::string spelled;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    auto [bytes, rank] = read_line(line, number, where);
    spelled.clear();
    for (const char c : bytes) spelled += byte_alphabet()[static_cast<std::uint8_t>(c)];
    file.vocabulary.add(spelled, rank, where);
    const auto index = static_cast<std::size_t>(rank);
    if (index > 2 * file.vocabulary.size() + (1U << 20U))
      where.fail_input(fmt::format("line {}: the rank {} is far beyond the others", number, rank));
    if (index >= file.bytes.size()) file.bytes.resize(index + 1);
    file.bytes[index] = std::move(bytes);
  }
  file.vocabulary.build(where);
  return file;
}

struct RankedMerges {
  std::vector<Merge> merges;
  std::vector<std::uint32_t> ranks;  ///< that of the result: all ways to make it are equal
};

RankedMerges find_merges(const RankFile& file, const Where& where) {
  RankedMerges out;
  std::uint64_t work = 0;
  std::string spelled;
  std::vector<std::uint32_t> cuts;  // in the spelled piece, before each byte
  std::vector<Merge> ways;
  for (std::size_t rank = 0; rank < file.bytes.size(); ++rank) {
    const std::string& bytes = file.bytes[rank];
    work += bytes.size() * bytes.size();
    if (work > kMergeWorkLimit) where.fail_input("the pieces are too long to find their merges");
    spelled.clear();
    cuts.clear();
    for (const char c : bytes) {
      cuts.push_back(static_cast<std::uint32_t>(spelled.size()));
      spelled += byte_alphabet()[static_cast<std::uint8_t>(c)];
    }
    ways.clear();
    for (std::size_t i = 1; i < cuts.size(); ++i) {
      const auto left = file.vocabulary.find(std::string_view(spelled).substr(0, cuts[i]));
      if (!left) continue;
      const auto right = file.vocabulary.find(std::string_view(spelled).substr(cuts[i]));
      if (right) ways.push_back({*left, *right, static_cast<TokenId>(rank)});
    }
    std::sort(ways.begin(), ways.end(), [](const Merge& a, const Merge& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
    out.merges.insert(out.merges.end(), ways.begin(), ways.end());
    out.ranks.resize(out.merges.size(), static_cast<std::uint32_t>(rank));
  }
  return out;
}

Json added_tokens(const std::vector<SpecialToken>& specials, const Json& config,
                  const Where& where) {
  Json list = Json::array();
  const auto add = [&](TokenId id, const std::string& content, const Json& flags) {
    Json token = {{"id", id}, {"content", content}};
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"})
      token[flag] = where.boolean(flags, flag, false);
    token["special"] = where.boolean(flags, "special", true);
    list.push_back(std::move(token));
  };
  const auto declared = config.find("added_tokens_decoder");
  if (declared == config.end() || !declared->is_object()) {
    for (const SpecialToken& token : specials) add(token.id, token.content, Json::object());
    return list;
  }
  for (const auto& [key, token] : declared->items()) {
    TokenId id = -1;
    const auto [stop, code] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (code != std::errc() || stop != key.data() + key.size() || id < 0) continue;
    add(id, where.string(token, "content"), token);
  }
  return list;
}

Json description_of(const Layout& layout, const Json& added) {
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", false}};
  Json split = {{"type", "Split"}};
  split["pattern"] = {{"Regex", layout.pattern}};
  split["behavior"] = "Isolated";
  split["invert"] = false;
  Json out = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  out["added_tokens"] = added;
  out["normalizer"] = layout.nfc ? Json{{"type", "NFC"}} : Json();
  out["pre_tokenizer"] = {{"type", "Sequence"}};
  out["pre_tokenizer"]["pretokenizers"] = Json::array({std::move(split), bytes});
  out["post_processor"] = nullptr;
  const auto bos = std::ranges::find_if(
      added, [](const Json& token) { return token.at("content") == "<|begin_of_text|>"; });
  if (layout.bos && bos != added.end()) {
    out["post_processor"] = template_processor(
        NamedToken(bos->at("id").get<TokenId>(), bos->at("content").get<std::string>()), {});
  }
  out["decoder"] = bytes;
  out["model"] = {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", true}};
  return out;
}

const Layout& find_layout(std::size_t ranks, const Where& where) {
  const auto found = std::ranges::find(kLayouts, ranks, &Layout::ranks);
  if (found != kLayouts.end()) return *found;
  log::warn(fmt::format("{}: {} ranks are no published file's: text is split as by Llama 3",
                        printable(where.text(), 200), ranks));
  return kUnknownLayout;
}

}  // namespace

std::shared_ptr<Tokenizer::Impl> make_tiktoken(std::string_view text, const Json& config,
                                               const Where& where) {
  RankFile file = read_ranks(text, where);
  for (const std::string& letter : byte_alphabet()) {
    if (!file.vocabulary.find(letter)) where.fail_input("some of the 256 bytes has no rank");
  }
  const Layout& layout = find_layout(file.vocabulary.size(), where);
  const Json description =
      description_of(layout, added_tokens(special_tokens(layout), config, where));
  RankedMerges merges = find_merges(file, where);
  BpeOptions options;
  options.ignore_merges = true;
  options.raw_bytes = true;
  PreTokenizers pre(description.at("pre_tokenizer"), where.key("pre_tokenizer"), true);
  auto bpe = std::make_unique<Bpe>(std::move(file.vocabulary), std::move(merges.merges),
                                   std::move(options), merges.ranks);
  return std::make_shared<Tokenizer::Impl>(
      described_parts(description, where, std::move(pre), std::move(bpe)), where);
}

}  // namespace lancet
