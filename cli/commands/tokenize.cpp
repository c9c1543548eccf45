// lancet tokenize: text to ids and back.

#include <CLI/CLI.hpp>
#include <charconv>

#include <fmt/ranges.h>

#include "cli/engine.h"
#include "cli/jsonl.h"
#include "cli/output.h"
#include "core/parallel.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

constexpr std::size_t kLinesAtOnce = 4096;

struct TokenizeOptions {
  std::string model, file;
  std::vector<std::string> texts;
  std::vector<fs::path> images;
  bool decode = false, no_special = false, offsets = false, lossy = false;
};

class Tokenize {
 public:
  Tokenize(const TokenizeOptions& options, const CommonOptions& common)
      : options_(options), common_(common), tokenizer_(Tokenizer::open(fs::path(options.model))) {}

  int run() {
    if (!options_.file.empty() && !options_.texts.empty())
      fail(ErrorKind::kUsage, "tokenize", "expected TEXT or --file, found both");
    if (!options_.file.empty()) return run_file();
    if (options_.texts.empty())
      fail(ErrorKind::kUsage, "tokenize", "expected TEXT, --file or --image, found none",
           "lancet tokenize MODEL 'The capital of France is'");
    if (options_.decode) return run_decode();
    for (const auto& text : options_.texts) {
      const Encoding encoding = encode(text);
      common_.json ? print_json(described(encoding)) : print_text(table(encoding));
    }
    return 0;
  }

 private:
  Encoding encode(const std::string& text) const {
    if (options_.lossy && find_invalid_utf8(text))
      return tokenizer_.encode(utf8_lossy(text), !options_.no_special);
    return tokenizer_.encode(text, !options_.no_special);
  }

  void add_offsets(const Encoding& encoding, Json& out) const {
    if (!options_.offsets) return;
    Json offsets = Json::array();
    for (const auto& [begin, end] : encoding.offsets) offsets.push_back({begin, end});
    out["offsets"] = std::move(offsets);
  }

  Json described(const Encoding& encoding) const {
    Json tokens = Json::array();
    for (const auto id : encoding.ids) tokens.push_back(tokenizer_.token(id));
    Json out = {{"ids", encoding.ids},
                {"tokens", tokens},
                {"text", tokenizer_.decode(encoding.ids, false)}};
    add_offsets(encoding, out);
    return out;
  }

  std::string table(const Encoding& encoding) const {
    Table table({{"id", Table::Align::kRight}, {"token"}});
    for (const auto id : encoding.ids)
      table.add({std::to_string(id), printable(tokenizer_.token(id))});
    return table.text() + fmt::format("{} tokens\n", encoding.ids.size());
  }

  int run_decode() const {
    std::vector<TokenId> ids;
    for (const auto& word : options_.texts) append_ids(word, ids);
    const std::string text = tokenizer_.decode(ids, options_.no_special);
    common_.json ? print_json({{"text", text}, {"ids", ids}}) : print_text(text + "\n");
    return 0;
  }

  /// Ids of one word, separated by commas or blanks.
  void append_ids(const std::string& word, std::vector<TokenId>& ids) const {
    for (std::size_t at = 0; at < word.size();) {
      if (word[at] == ',' || word[at] == ' ') {
        ++at;
        continue;
      }
      TokenId id = 0;
      const auto [end, code] = std::from_chars(word.data() + at, word.data() + word.size(), id);
      if (code != std::errc() || id < 0 || id >= tokenizer_.vocab_size()) {
        fail(ErrorKind::kUsage, "tokenize",
             fmt::format("expected ids in [0, {}), found '{}'", tokenizer_.vocab_size(),
                         printable(word)));
      }
      ids.push_back(id);
      at = static_cast<std::size_t>(end - word.data());
    }
  }

  /// Lines are answered in their order, some thousand at once on all threads.
  int run_file() const {
    const std::string text = read_file(input_path(options_.file), 4ULL << 30);
    if (fs::path(options_.file).extension() != ".jsonl") {
      const Encoding encoding = encode(text);
      Json answer = {{"ids", encoding.ids}};
      add_offsets(encoding, answer);
      print_json(answer);
      return 0;
    }
    std::size_t number = 0;
    for (std::size_t at = 0; at < text.size();) {
      std::vector<std::pair<std::string_view, std::size_t>> lines;
      while (at < text.size() && lines.size() < kLinesAtOnce) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = std::string_view(text).substr(at, end - at);
        at = end + 1;
        ++number;
        if (line.find_first_not_of(" \t\r") != line.npos) lines.emplace_back(line, number);
      }
      std::vector<std::string> answers(lines.size());
      parallel::for_each(lines.size(), [&](std::size_t i) {
        answers[i] = answer(lines[i].first, fmt::format("{}:{}", options_.file, lines[i].second));
      });
      std::string out;
      for (const std::string& line : answers) out += line + "\n";
      print_text(out);
    }
    return 0;
  }

  std::string answer(std::string_view text, const std::string& where) const {
    const bool replaced = options_.lossy && find_invalid_utf8(text);
    const Json line = parse_json(replaced ? utf8_lossy(text) : std::string(text), where);
    if (!line.is_object() || !line.contains("ids")) {
      const Encoding encoding = encode(json_string(line, "text", where));
      Json out = {{"ids", encoding.ids}};
      add_offsets(encoding, out);
      return dump_json(out);
    }
    std::vector<TokenId> ids;
    for (const auto& id : line["ids"]) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
          id.get<std::int64_t>() >= tokenizer_.vocab_size()) {
        fail(ErrorKind::kInput, "tokenize",
             where + ": expected ids of the vocabulary, found " + id.dump());
      }
      ids.push_back(id.get<TokenId>());
    }
    return dump_json(Json{{"text", tokenizer_.decode(ids, options_.no_special)}});
  }

  const TokenizeOptions& options_;
  const CommonOptions& common_;
  Tokenizer tokenizer_;
};

/// Pictures need no tokenizer of text.
int run_images(const TokenizeOptions& options, const CommonOptions& common) {
  if (!options.texts.empty() || !options.file.empty())
    fail(ErrorKind::kUsage, "tokenize", "expected --image alone, found TEXT or --file beside it");
  const auto ids =
      open_engine(common.runtime).image_ids(options.model, options.images, common.runtime);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    common.json ? print_json({{"image", options.images[i].string()}, {"ids", ids[i]}})
                : print_text(fmt::format("{}\n", fmt::join(ids[i], ",")));
  }
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option(
         "MODEL", options->model,
         "Any readable model, or its tokenizer alone (tokenizer.json, tokenizer.model, ranks)")
      ->required();
  app.add_option("TEXT", options->texts,
                 "Texts (or ids with --decode); with --json one document a text");
  app.add_option("--file", options->file,
                 "JSON lines of {\"text\":...} or {\"ids\":[...]}, answered one line each; any "
                 "other file, and standard input by -, is one text");
  app.add_option(
         "--image", options->images,
         "PNG or JPEG picture, as ids of a model that has an image tokenizer (Chameleon); may "
         "be given more than once")
      ->take_all();
  app.add_flag("--decode", options->decode, "TEXT is ids");
  app.add_flag("--no-special", options->no_special,
               "Add no special tokens; leave them out when decoding");
  app.add_flag("--offsets", options->offsets, "Also the bytes of the text that each token covers");
  app.add_flag("--lossy", options->lossy,
               "Replace what is not UTF-8 by U+FFFD instead of refusing it");
  return [options, &common] {
    if (!options->images.empty()) return run_images(*options, common);
    return Tokenize(*options, common).run();
  };
}

}  // namespace

extern const Command command_tokenize{.name = "tokenize",
                                      .group = "Running a model",
                                      .summary = "Text to token ids and back",
                                      .examples =
                                          "  lancet tokenize model/ 'The capital of France is'\n"
                                          "  lancet tokenize model.gguf --decode 504 3575 282",
                                      .declare = declare};

}  // namespace lancet
