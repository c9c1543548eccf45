// lancet tokenize: text to ids and back.

#include <CLI/CLI.hpp>
#include <charconv>

#include "cli/jsonl.h"
#include "cli/output.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

struct TokenizeOptions {
  std::string model, file;
  std::vector<std::string> texts;
  bool decode = false, no_special = false;
};

std::vector<TokenId> parse_ids(const std::vector<std::string>& words, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (const auto& word : words) {
    std::size_t at = 0;
    while (at < word.size()) {
      if (word[at] == ',' || word[at] == ' ') {
        ++at;
        continue;
      }
      TokenId id = 0;
      const auto [end, code] = std::from_chars(word.data() + at, word.data() + word.size(), id);
      if (code != std::errc() || id < 0 || id >= tokenizer.vocab_size()) {
        fail(ErrorKind::kUsage, "tokenize",
             fmt::format("expected ids in [0, {}), found '{}'", tokenizer.vocab_size(),
                         printable(word)));
      }
      ids.push_back(id);
      at = static_cast<std::size_t>(end - word.data());
    }
  }
  return ids;
}

Json encoded_json(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Json tokens = Json::array();
  for (const auto id : ids) tokens.push_back(tokenizer.token(id));
  return {{"ids", ids}, {"tokens", tokens}, {"text", tokenizer.decode(ids, false)}};
}

int run_file(const TokenizeOptions& options, const Tokenizer& tokenizer) {
  for_each_json_line(options.file, [&](const Json& line, std::size_t number) {
    const std::string where = fmt::format("{}:{}", options.file, number);
    if (line.is_object() && line.contains("ids")) {
      std::vector<TokenId> ids;
      for (const auto& id : line["ids"]) {
        if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
            id.get<std::int64_t>() >= tokenizer.vocab_size()) {
          fail(ErrorKind::kInput, "tokenize",
               where + ": expected ids of the vocabulary, found " + id.dump());
        }
        ids.push_back(id.get<TokenId>());
      }
      print_json({{"text", tokenizer.decode(ids, options.no_special)}});
    } else {
      const auto encoding = tokenizer.encode(json_string(line, "text", where), !options.no_special);
      print_json({{"ids", encoding.ids}});
    }
  });
  return 0;
}

std::string table_text(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  Table table({{"id", Table::Align::kRight}, {"token"}});
  for (const auto id : ids) table.add({std::to_string(id), printable(tokenizer.token(id))});
  return table.text() + fmt::format("{} tokens\n", ids.size());
}

int run(const TokenizeOptions& options, const CommonOptions& common) {
  const auto tokenizer = Tokenizer::open(ModelSource::open(options.model));
  if (!options.file.empty()) return run_file(options, tokenizer);
  if (options.texts.empty())
    fail(ErrorKind::kUsage, "tokenize", "expected TEXT or --file, found neither");
  if (options.decode) {
    const auto ids = parse_ids(options.texts, tokenizer);
    const std::string text = tokenizer.decode(ids, options.no_special);
    common.json ? print_json({{"text", text}, {"ids", ids}}) : print_text(text + "\n");
    return 0;
  }
  for (const auto& text : options.texts) {
    const auto ids = tokenizer.encode(text, !options.no_special).ids;
    common.json ? print_json(encoded_json(tokenizer, ids)) : print_text(table_text(tokenizer, ids));
  }
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("MODEL", options->model, "Any readable model with a tokenizer")->required();
  app.add_option("TEXT", options->texts,
                 "Texts (or ids with --decode); with --json one document a text");
  app.add_option("--file", options->file,
                 "JSON lines of {\"text\":...} or {\"ids\":[...]}; answers one line each");
  app.add_flag("--decode", options->decode, "TEXT is ids");
  app.add_flag("--no-special", options->no_special,
               "Add no special tokens; leave them out when decoding");
  return [options, &common] { return run(*options, common); };
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
