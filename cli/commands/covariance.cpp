// lancet covariance: second moments of the keys of layers, which editors use to leave other facts
// alone.

#include <CLI/CLI.hpp>

#include "cli/engine.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/table.h"
#include "core/text.h"

namespace lancet {
namespace {

struct CovarianceArguments {
  std::string self_generated, npz;
  CovarianceRequest request;
};

/// "200k", "3M", "5000" -> tokens.
std::int64_t parse_tokens(const std::string& text) {
  std::size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  const std::string unit = text.substr(std::min(end, text.size()));
  const double scale = unit.empty() ? 1 : unit == "k" ? 1e3 : unit == "M" ? 1e6 : 0;
  if (end == 0 || scale == 0 || !(value * scale >= 1) || value * scale > 1e15)
    fail(ErrorKind::kUsage, "covariance",
         "expected a number of tokens such as 5000, 200k or 3M, found '" + printable(text) + "'");
  return static_cast<std::int64_t>(value * scale);
}

std::string result_text(const Json& d) {
  std::string out = fmt::format("{}: layers {}, {} tokens", d["output"].get<std::string>(),
                                numbers_text(d["layers"]), d["tokens"].dump());
  if (d["resumed_tokens"].get<std::int64_t>() > 0)
    out += fmt::format(" ({} of them from an earlier run)", d["resumed_tokens"].dump());
  out += fmt::format(", {:.0f} tokens/s, {:.1f} s\n", d["tokens_per_second"].get<double>(),
                     d["seconds"].get<double>());
  for (const Json& path : d["exported"]) out += "wrote " + path.get<std::string>() + "\n";
  return out;
}

std::string plan_text(const Json& d) {
  Table table({{"would collect"}, {""}});
  table.add({"output", d["output"].get<std::string>()});
  table.add(
      {"layers", fmt::format("{}, {} units each", numbers_text(d["layers"]), d["d_ff"].dump())});
  table.add({"writes", human_bytes(d["output_bytes"].get<std::uint64_t>())});
  table.add({"memory", about_bytes(d["peak_memory"])});
  table.add({"time", about_seconds(d["seconds"])});
  return table.text();
}

int run(CovarianceArguments& a, const CommonOptions& common) {
  CovarianceRequest& r = a.request;
  if (!a.self_generated.empty()) r.self_generated = parse_tokens(a.self_generated);
  if (!a.npz.empty()) r.npz = a.npz;
  r.plan = common.plan;
  r.force = common.force;
  const Json result = open_engine(common.runtime).covariance(r, common.runtime);
  common.json ? print_json(result) : print_text(r.plan ? plan_text(result) : result_text(result));
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto a = std::make_shared<CovarianceArguments>();
  app.add_option("MODEL", a->request.model, "Any readable model")->required();
  app.add_option("--layers", a->request.layers, "5 or 4-8")->required();
  app.add_option("--text", a->request.texts,
                 "Texts: .jsonl (\"text\" of each line) or documents between empty lines");
  app.add_option("--self-generated", a->self_generated,
                 "Tokens of text that the model writes itself, such as 200k");
  app.add_option("--import", a->request.imports, "ROME's .npz, one for each layer");
  app.add_option("-o,--out", a->request.out, "The statistics (.safetensors)")->required();
  app.add_option("--export-npz", a->npz, "Write ROME's .npz files into this folder too");
  app.add_option("--window", a->request.window, "Tokens at which a document is cut (default 512)")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option_function<std::string>(
      "--max-tokens", [a](const std::string& text) { a->request.max_tokens = parse_tokens(text); },
      "Stop after this many tokens, such as 100k (default: the whole text)");
  return [a, &common] { return run(*a, common); };
}

}  // namespace

extern const Command command_covariance{
    .name = "covariance",
    .group = "Surgery",
    .summary = "Second moments of layers' keys, for edit --covariance",
    .examples =
        "  lancet covariance model/ --layers 4-8 --text wiki.jsonl -o stats.safetensors\n"
        "  lancet covariance model/ --layers 5 --self-generated 200k -o stats.safetensors "
        "--export-npz stats/",
    .runs_model = true,
    .dtype = kComputation,
    .declare = declare};

}  // namespace lancet
