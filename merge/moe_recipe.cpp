// The recipe of merge/moe.h, read as strictly as those of merges.
#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/moe.h"
#include "merge/recipe_reader.h"

namespace lancet {
namespace {

constexpr std::pair<std::string_view, GateMode> kGates[] = {
    {"hidden", GateMode::kHidden},
    {"hidden_last", GateMode::kHidden},
    {"hidden_avg", GateMode::kHiddenAverage},
    {"cheap_embed", GateMode::kCheapEmbed},
    {"random", GateMode::kRandom},
    {"uniform_random", GateMode::kUniformRandom},
};

class Parser {
 public:
  Parser(const Node& node, MoeRecipe& out)
      : node_(node), out_(out), reader_(out.source, out.warnings, "moe") {}

  void parse() {
    reader_.keys(node_, {"base_model", "experts", "shared_experts", "gate_mode",
                         "experts_per_token", "dtype", "architecture"});
    if (given("base_model") == nullptr)
      reader_.refuse(node_, "expected base_model, found none", "say base_model: PATH");
    out_.base = reader_.model(*given("base_model"));
    parse_gate();
    if (const Node* node = given("architecture")) parse_architecture(*node);
    if (given("experts") == nullptr)
      reader_.refuse(node_, "expected experts, found none", "list them under experts:");
    for (const Node& item : reader_.sequence(*given("experts"), "experts").items)
      out_.experts.push_back(expert(item, true));
    const MoeFamily* family = find_moe_family(out_.architecture);
    const bool gated = family == nullptr || !family->shared_router.empty();
    if (const Node* node = given("shared_experts")) {
      for (const Node& item : reader_.sequence(*node, "shared_experts").items)
        out_.shared.push_back(expert(item, gated));
    }
    if (const Node* node = given("experts_per_token"))
      out_.experts_per_token = reader_.integer(*node, "experts_per_token", 1);
    check_counts();
    if (const Node* node = given("dtype")) parse_dtype_key(*node);
  }

 private:
  const Node& node_;
  MoeRecipe& out_;
  RecipeReader reader_;

  const Node* given(std::string_view key) const {
    const Node* node = node_.find(key);
    return node == nullptr || node->kind == Node::Kind::kNull ? nullptr : node;
  }

  void parse_gate() {
    const Node* node = given("gate_mode");
    const std::string name = node == nullptr ? "hidden" : reader_.text(*node, "gate_mode");
    std::vector<std::string_view> names;
    for (const auto& [known, mode] : kGates) {
      names.push_back(known);
      if (name != known) continue;
      out_.gate = mode;
      return;
    }
    reader_.refuse(*node,
                   fmt::format("gate_mode: expected one of {}, found '{}'", fmt::join(names, ", "),
                               printable(name)),
                   did_you_mean(name, names));
  }

  std::vector<std::string> prompts(const Node& mapping, std::string_view key) const {
    const Node* node = mapping.find(key);
    std::vector<std::string> out;
    if (node == nullptr || node->kind == Node::Kind::kNull) return out;
    if (node->kind == Node::Kind::kSequence && node->items.empty()) return out;
    for (const Node& item : reader_.sequence(*node, key).items)
      out.push_back(reader_.text(item, key));
    return out;
  }

  double number(const Node& mapping, const MergeParameter& parameter) const {
    const Node* node = mapping.find(parameter.name);
    if (node == nullptr || node->kind == Node::Kind::kNull) return parameter.fallback;
    return reader_.scalar(*node, parameter);
  }

  /// `gated`: a router decides how much of it is added.
  MoeExpert expert(const Node& node, bool gated) const {
    static constexpr MergeParameter kNoise{.name = "noise_scale",
                                           .fallback = 0,
                                           .minimum = 0,
                                           .maximum = 1e3,
                                           .help = "standard deviation of noise added to the MLPs"};
    static constexpr MergeParameter kResidual{.name = "residual_scale",
                                              .fallback = 1,
                                              .minimum = -1e3,
                                              .maximum = 1e3,
                                              .help = "factor of the down projections"};
    reader_.keys(node, {"source_model", "positive_prompts", "negative_prompts", "noise_scale",
                        "residual_scale"});
    const Node* source = node.find("source_model");
    if (source == nullptr) reader_.refuse(node, "expected source_model, found none");
    MoeExpert out{.model = reader_.model(*source),
                  .positive = prompts(node, "positive_prompts"),
                  .negative = prompts(node, "negative_prompts"),
                  .noise_scale = number(node, kNoise),
                  .residual_scale = number(node, kResidual),
                  .place = place_of(node)};
    const bool drawn = out_.gate == GateMode::kRandom || out_.gate == GateMode::kUniformRandom;
    if (!gated && !(out.positive.empty() && out.negative.empty())) {
      reader_.refuse(node,
                     fmt::format("expected no prompts for the shared expert of {}, found some",
                                 out_.architecture),
                     "it is always added whole: no gate is made from prompts");
    }
    if (!drawn && gated && out.positive.empty()) {
      reader_.refuse(node, "expected positive_prompts, found none",
                     "the router is made from them; gate_mode: random needs none");
    }
    return out;
  }

  void check_counts() {
    const auto experts = static_cast<std::int64_t>(out_.experts.size());
    if (out_.experts_per_token > experts) {
      const Node* count = given("experts_per_token");
      reader_.refuse(count == nullptr ? node_ : *count,
                     fmt::format("experts_per_token: expected at most the {} experts, found {}",
                                 experts, out_.experts_per_token));
    }
    if ((experts & (experts - 1)) != 0) {
      reader_.warn(*given("experts"),
                   fmt::format("{} experts: some runtimes want a power of two", experts));
    }
  }

  void parse_dtype_key(const Node& node) {
    std::string name = reader_.text(node, "dtype");
    if (name.starts_with("torch.")) name.erase(0, 6);
    try {
      out_.dtype = parse_dtype(name);
    } catch (const Error& error) {
      reader_.refuse(node, fmt::format("dtype: {}", error.message()), error.hint());
    }
  }

  void parse_architecture(const Node& node) {
    std::string name = reader_.text(node, "architecture");
    if (name == "qwen") name = "qwen2_moe";
    if (name == "qwen3") name = "qwen3_moe";
    if (find_moe_family(name) == nullptr) {
      std::vector<std::string_view> known;
      for (const MoeFamily& family : moe_families()) known.push_back(family.name);
      reader_.refuse(node,
                     fmt::format("architecture: expected one of {}, found '{}'",
                                 fmt::join(known, ", "), printable(name)),
                     did_you_mean(name, known));
    }
    out_.architecture = name;
  }
};

}  // namespace

MoeRecipe parse_moe_recipe(const std::string& text, const std::string& source,
                           const fs::path& directory) {
  const std::vector<Node> documents = parse_yaml(text, source);
  if (documents.size() != 1) {
    fail(ErrorKind::kUsage, "moe",
         fmt::format("{}: expected one document, found {}", printable(source, 400),
                     documents.size()));
  }
  MoeRecipe out;
  out.source = source;
  out.text = text;
  out.directory = directory;
  Parser(documents[0], out).parse();
  return out;
}

MoeRecipe read_moe_recipe(const fs::path& path) {
  return parse_moe_recipe(read_file(path, 1U << 24), path.string(),
                          fs::absolute(path).parent_path());
}

}  // namespace lancet
