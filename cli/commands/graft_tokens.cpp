// lancet graft-tokens: a model with the vocabulary of another one.

#include <CLI/CLI.hpp>

#include "cli/common_options.h"
#include "cli/output.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/outputs.h"
#include "core/seconds.h"
#include "core/text.h"
#include "formats/replaceable.h"
#include "merge/estimate.h"
#include "merge/graft.h"

namespace lancet {
namespace {

struct GraftArguments {
  std::string model, donor, out, report, shard_size = "5GB", method = "omp", subword = "mean",
                                         prefix = "no";
  std::vector<std::string> map;
  GraftOptions options;
  bool no_byte_match = false;
};

template <typename Value>
Value word_value(std::string_view option, const std::string& word,
                 const std::vector<std::pair<std::string_view, Value>>& known) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : known) {
    if (word == name) return value;
    names.push_back(name);
  }
  const bool noise = word == "zero" || word == "random" || word == "randn";
  fail(ErrorKind::kUsage, "graft-tokens",
       fmt::format("{}: expected one of {}, found '{}'", option, fmt::join(names, ", "),
                   printable(word)),
       noise ? "rows of zeros or noise are tokens that the model cannot read before training: mean "
               "is the neutral choice"
             : did_you_mean(word, names));
}

/// Options of one method, given to another, have no effect.
void check_methods(const CLI::App& app, const std::string& method) {
  constexpr std::pair<const char*, std::string_view> kOwn[] = {
      {"--k", "omp"}, {"--unit-atoms", "omp"}, {"--subword", "subword"}};
  for (const auto& [option, owner] : kOwn) {
    // What the pursuit cannot make (donor rows of zeros) is made from parts of words.
    const bool used = method == owner || (owner == "subword" && method == "omp");
    if (app.count(option) == 0 || used) continue;
    fail(ErrorKind::kUsage, "graft-tokens",
         fmt::format("{}: expected --method {}, found {}", option, owner, printable(method)));
  }
}

GraftOptions options_of(const GraftArguments& arguments, const CommonOptions& common) {
  GraftOptions options = arguments.options;
  options.method = word_value<GraftMethod>("--method", arguments.method,
                                           {{"omp", GraftMethod::kOmp},
                                            {"subword", GraftMethod::kSubword},
                                            {"mean", GraftMethod::kMean}});
  options.subword = word_value<SubwordRule>("--subword", arguments.subword,
                                            {{"mean", SubwordRule::kMean},
                                             {"sum", SubwordRule::kSum},
                                             {"first", SubwordRule::kFirst},
                                             {"last", SubwordRule::kLast}});
  options.prefix = word_value<GraftTables>("--prefix-match", arguments.prefix,
                                           {{"no", GraftTables::kNone},
                                            {"embedding", GraftTables::kEmbedding},
                                            {"head", GraftTables::kHead},
                                            {"yes", GraftTables::kBoth}});
  options.match_bytes = !arguments.no_byte_match;
  options.memory = parse_bytes(common.memory);
  if (common.runtime.dtype != "auto") options.dtype = parse_dtype(common.runtime.dtype);
  for (const std::string& pair : arguments.map) {
    const std::size_t at = pair.find('=', 1);
    if (at == std::string::npos || at + 1 == pair.size()) {
      fail(ErrorKind::kUsage, "graft-tokens",
           fmt::format("--map: expected DONOR_TOKEN=MODEL_TOKEN, found '{}'", printable(pair)));
    }
    options.given[pair.substr(0, at)] = pair.substr(at + 1);
  }
  return options;
}

std::string summary(const Json& result) {
  std::string text = fmt::format(
      "{} tokens: {} spelt alike in both ({} more special, {} given), {} new, {} rows of padding\n",
      result["tokens"].dump(), result["shared"].dump(), result["special"].dump(),
      result["given"].dump(), result["made"].dump(), result["padding"].dump());
  if (!result.contains("residuals")) return text;
  for (const auto& [table, found] : result["residuals"].items()) {
    if (found.is_null()) continue;
    text += fmt::format(
        "{}: {} tokens fitted, relative residual {:.3f} on average, {:.3f} worst "
        "('{}')\n",
        table, found["fitted"].dump(), found["mean"].get<double>(),
        found["worst"][0]["residual"].get<double>(),
        printable(found["worst"][0]["token"].get<std::string>()));
  }
  return text;
}

int run(const GraftArguments& arguments, const CommonOptions& common) {
  const Replace replace = replaces(common.force, common.plan);
  const std::vector<fs::path> read{arguments.model, arguments.donor};
  check_place("graft-tokens", arguments.out, OutputKind::kModel, read, replace);
  if (!arguments.report.empty())
    check_place("graft-tokens", arguments.report, OutputKind::kFile, read, replace);
  check_apart("graft-tokens", {{"-o", arguments.out}, {"--report", arguments.report}});
  const Timer watch;
  Graft graft(arguments.model, arguments.donor, options_of(arguments, common));
  Json result = graft.plan();
  result["output"] = arguments.out;
  if (common.plan) {
    result["plan"] = true;
    result["peak_memory"] = graft.expected_memory();
    result["seconds"] = watch.seconds() + graft.seconds() +
                        writing_seconds(arguments.out, graft.bytes()) +
                        seconds_to_hash(graft.bytes_read());
    common.json ? print_json(result)
                : print_text(summary(result) +
                             fmt::format("would write {} to {}, peak memory {}, about {:.0f} s\n",
                                         human_bytes(graft.bytes()), arguments.out,
                                         human_bytes(result["peak_memory"].get<std::uint64_t>()),
                                         result["seconds"].get<double>()));
    return 0;
  }
  check_space(arguments.out, graft.bytes());
  const auto side_files = graft.side_files();
  for (const std::string& warning : graft.warnings()) log::warn(warning);
  graft.solve();
  result["residuals"] = graft.residuals();
  result["warnings"] = graft.warnings();
  WriteOptions write{.shard_size = parse_bytes(arguments.shard_size),
                     .force = common.force,
                     .dtype = arguments.options.dtype,
                     .manifest = command_json("graft-tokens", common)};
  if (common.runtime.dtype != "auto") write.dtype = parse_dtype(common.runtime.dtype);
  write.manifest["method"] = arguments.method;
  write.manifest["k"] = arguments.options.pursuit.atoms;
  write.manifest["inputs"] =
      Json::array({input_model(arguments.model), input_model(arguments.donor)});
  static_cast<void>(write_model(arguments.out, graft.tensors(), side_files, write));
  if (!arguments.report.empty()) write_file(arguments.report, graft.report());
  result["seconds"] = watch.seconds();
  result["peak_memory"] = peak_memory();
  common.json ? print_json(result)
              : print_text(summary(result) + fmt::format("{}: {} in {:.1f} s\n", arguments.out,
                                                         human_bytes(graft.bytes()),
                                                         result["seconds"].get<double>()));
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<GraftArguments>();
  GraftOptions& options = a->options;
  app.add_option("MODEL", a->model, "The model that learns another vocabulary")->required();
  app.add_option("DONOR", a->donor, "The model whose tokenizer it gets")->required();
  app.add_option("-o,--out", a->out, "*.gguf, *.safetensors, else a Hugging Face directory")
      ->required();
  app.add_option("--method", a->method,
                 "Rows of new tokens: omp (default), subword or mean; docs/merging.md");
  app.add_option("--k", options.pursuit.atoms,
                 "omp: shared tokens that make a new one (default 64)")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--unit-atoms", options.pursuit.unit_atoms,
               "omp: choose by cosine, not by inner product");
  app.add_option("--subword", a->subword,
                 "subword: mean (default), sum, first or last of the rows");
  app.add_option("--prefix-match", a->prefix,
                 "New tokens take the row of their longest prefix in: no (default), embedding, "
                 "head or yes (both)");
  app.add_flag("--no-byte-match", a->no_byte_match,
               "Byte tokens (<0x0A>) are not matched with other tokens of that byte");
  app.add_option("--map", a->map, "DONOR_TOKEN=MODEL_TOKEN: whose row a token takes")
      ->expected(1)
      ->take_all();
  app.add_option("--pad-to", options.pad_to,
                 "Rows a multiple of this (default: as many as the donor's embedding)")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--report", a->report, "JSON lines: what the row of each token was made of");
  app.add_option("--shard-size", a->shard_size, "Largest weight file of a directory (default 5GB)")
      ->check(size_validator());
  return [a, &app, &common] {
    check_methods(app, a->method);
    return run(*a, common);
  };
}

}  // namespace

extern const Command command_graft_tokens{
    .name = "graft-tokens",
    .group = "Merging",
    .summary = "A model with the vocabulary and tokenizer of another one",
    .examples =
        "  lancet graft-tokens model/ donor/ -o grafted/\n"
        "  lancet graft-tokens model/ donor/ -o grafted/ --method subword --plan",
    .dtype = kWritten,
    .memory = "Bound on working memory (default 1GiB)",
    .declare = declare};

}  // namespace lancet
