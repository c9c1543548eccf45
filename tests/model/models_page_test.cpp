// docs/models.md has the table that the stored models give; LANCET_UPDATE_DOCS=1 writes it anew.

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/file.h"
#include "model/architecture.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

constexpr std::string_view kBegin = "<!-- families: begin -->\n";
constexpr std::string_view kEnd = "<!-- families: end -->\n";

/// The primitives that a model is made of, beyond Llama's plainest.
std::set<std::string> primitives(const DecoderSpec& spec) {
  std::set<std::string> out;
  const auto add = [&](bool has, const char* what) {
    if (has) out.insert(what);
  };
  const AttentionSpec& a = spec.attention;
  const NameSpec& n = spec.names;
  add(spec.norm.kind == NormKind::kLayer, "layer norm");
  add(spec.norm.weight_offset != 0, "norm weight 1 + w");
  add(!n.attn_post_norm.empty() || !n.attn_add_norm.empty(), "norms behind");
  add(spec.parallel, "parallel block");
  const bool attends =
      std::ranges::any_of(spec.layer, [](const LayerSpec& layer) { return !layer.ssm; });
  add(attends && spec.ropes.empty() && a.alibi.empty() && n.positions.empty(), "no positions");
  add(!a.latent && a.kv_heads < a.heads, "grouped heads");
  add(a.qkv != QkvLayout::kSeparate, "fused qkv");
  add(a.qkv_bias, "qkv bias");
  add(a.qk_norm != QkNormWidth::kNone, "QK norm");
  add(a.softcap != 0 || spec.logit_softcap != 0, "soft caps");
  add(a.clip != 0, "clipping");
  add(a.sinks, "sinks");
  add(!a.alibi.empty(), "ALiBi");
  add(a.latent, "latent attention");
  add(a.temperature_scale != 0, "query temperature");
  add(!n.positions.empty(), "learned positions");
  add(spec.layout == MatrixLayout::kInOut, "Conv1D layout");
  add(!spec.mlp.gated, "plain MLP");
  add(!n.mlp.gate_up.empty(), "fused gate_up");
  add(spec.tied_head, "tied head");
  add(!spec.image_ids.empty(), "image tokens");
  add(spec.ssm.inner_norms, "norms of dt, B and C");
  add(spec.head_bias, "head bias");
  add(spec.d_embed != 0, "projected embedding");
  add(spec.normed_residual, "normed residual");
  add(spec.residual_scale != 1 || spec.logit_scale != 1, "multipliers");
  add(spec.moe.shared_d_ff > 0, "shared expert");
  add(spec.moe.groups > 1, "expert groups");
  add(spec.moe.correction, "routing bias");
  for (const LayerSpec& layer : spec.layer) {
    add(layer.window > 0, "window");
    add(layer.chunk > 0, "chunks");
    add(layer.moe, "experts");
    add(layer.ssm, "state space");
    add(!layer.mlp, "no MLP");
    add(layer.rope < 0 && !spec.ropes.empty(), "layers without RoPE");
  }
  for (const RopeSpec& rope : spec.ropes) {
    constexpr std::array kKinds{"",     "",        "linear RoPE", "dynamic RoPE", "llama3 RoPE",
                                "YaRN", "LongRoPE"};
    add(rope.kind > RopeKind::kDefault, kKinds[static_cast<std::size_t>(rope.kind)]);
    add(rope.dims < (a.latent ? a.mla.d_rope : a.d_head), "partial RoPE");
    add(rope.interleaved, "RoPE in pairs");
  }
  return out;
}

/// A family's stored models: what they exercise, and the largest difference from the reference.
struct Measured {
  std::set<std::string> exercised;
  double difference = 0;
};

std::map<std::string, Measured> measure() {
  std::map<std::string, Measured> out;
  const auto add = [&](const std::string& type, const std::string& name) {
    const Decoder model = load_tiny(name);
    out[type].exercised.merge(primitives(model.spec()));
    out[type].difference = std::max(
        out[type].difference, max_abs(model.forward(golden(name, "ids")), golden(name, "logits")));
  };
  for (const std::string& name : tiny_names()) add("llama", name);
  for (const std::string& name : family_names()) add(name.substr(0, name.find('-')), name);
  return out;
}

/// All but the last column: what does not depend on the machine.
std::string row_head(const Architecture& family, const Measured& measured) {
  return fmt::format("| `{}` | {} | {} |", family.name, family.title,
                     fmt::join(measured.exercised, ", "));
}

}  // namespace

TEST_CASE("docs: docs/models.md has a row of measured differences for every family") {
  const fs::path page = fs::path(LANCET_SOURCE_DIR) / "docs" / "models.md";
  const auto measured = measure();
  std::string table =
      "| `model_type` | models | beyond the plainest Llama, tested | largest difference "
      "|\n|---|---|---|---|\n";
  for (const Architecture* family : architecture_registry()) {
    const Measured& row = measured.at(std::string(family->name));
    table += fmt::format("{} {:.1e} |\n", row_head(*family, row), row.difference);
  }
  std::string text = read_file(page);
  const std::size_t begin = text.find(kBegin);
  const std::size_t end = text.find(kEnd);
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  const std::size_t first = begin + kBegin.size();
  if (std::getenv("LANCET_UPDATE_DOCS") != nullptr) {
    text.replace(first, end - first, table);
    write_file(page, text);
  }
  const std::string written = text.substr(first, text.find(kEnd) - first);
  std::size_t rows = 0;
  for (const Architecture* family : architecture_registry()) {
    const std::string head = row_head(*family, measured.at(std::string(family->name)));
    INFO(head);
    const std::size_t at = written.find(head);
    REQUIRE(at != std::string::npos);
    CHECK(std::strtod(written.c_str() + at + head.size(), nullptr) < tolerance::kTinyLogits);
    ++rows;
  }
  CHECK(std::count(written.begin(), written.end(), '\n') == static_cast<std::ptrdiff_t>(rows + 2));
}
