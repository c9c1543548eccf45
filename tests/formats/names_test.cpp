// Tensor names of GGUF and transformers, and the order of query and key rows.

#include "formats/names/name_map.h"

#include <cmath>
#include <set>

#include "tests/catch.h"

namespace lancet {

TEST_CASE("names: the tensors of a Llama are called as transformers and llama.cpp call them",
          "[names]") {
  const NameFamily& llama = *family_of_gguf("llama");
  const auto hf = [&](const char* name) { return gguf_to_hf_name(llama, name)->name; };
  CHECK(hf("token_embd.weight") == "model.embed_tokens.weight");
  CHECK(hf("output.weight") == "lm_head.weight");
  CHECK(hf("output_norm.weight") == "model.norm.weight");
  CHECK(hf("blk.0.attn_q.weight") == "model.layers.0.self_attn.q_proj.weight");
  CHECK(hf("blk.29.attn_output.weight") == "model.layers.29.self_attn.o_proj.weight");
  CHECK(hf("blk.117.ffn_norm.weight") == "model.layers.117.post_attention_layernorm.weight");
  CHECK(hf("blk.3.attn_k.bias") == "model.layers.3.self_attn.k_proj.bias");
  const auto rows = [&](const char* name) { return gguf_to_hf_name(llama, name)->rule->rows; };
  CHECK(rows("blk.0.attn_q.weight") == RowOrder::kQueryHeads);
  CHECK(rows("blk.0.attn_k.bias") == RowOrder::kKeyHeads);
  CHECK(rows("blk.0.attn_v.weight") == RowOrder::kSame);
}

TEST_CASE("names: every rule of every family leads there and back", "[names]") {
  const auto filled = [](std::string name, const char* number) {
    if (const auto hole = name.find("{}"); hole != std::string::npos) name.replace(hole, 2, number);
    return name;
  };
  for (const NameFamily& family : name_families()) {
    INFO(family.hf_types.front());
    CHECK(family_of_model_type(family.hf_types.front()) == &family);
    CHECK(family_of_gguf(family.gguf_architecture, !family.extra.empty(),
                         family.hf_types.front() == "deepseek_v3") == &family);
    std::set<std::string> names;
    for (const auto& rules : family.rules) {
      for (const NameRule& rule : rules) {
        const std::string gguf =
            filled(std::string(rule.gguf), "12") + (rule.bare ? "" : ".weight");
        const auto hf = gguf_to_hf_name(family, gguf,
                                        [&](std::string_view other) { return other == rule.when; });
        REQUIRE(hf);
        CHECK(hf->rule == &rule);
        if (rule.old) continue;
        const std::string name = filled(hf->name, "7");
        const auto back = hf_to_gguf_name(family, name);
        REQUIRE(back);
        CHECK(back->name == gguf);
        CHECK(back->rule == &rule);
        CHECK(back->expert == (rule.stacked() ? 7 : -1));
        CHECK(names.insert(name).second);
      }
    }
  }
}

TEST_CASE("names: a bare name has no ending on either side", "[names]") {
  const NameFamily& mamba = *family_of_gguf("mamba");
  CHECK(gguf_to_hf_name(mamba, "blk.3.ssm_a")->name == "backbone.layers.3.mixer.A_log");
  CHECK(hf_to_gguf_name(mamba, "backbone.layers.3.mixer.D")->name == "blk.3.ssm_d");
  CHECK_FALSE(gguf_to_hf_name(mamba, "blk.3.ssm_a.weight"));
  CHECK_FALSE(hf_to_gguf_name(mamba, "backbone.layers.3.mixer.D.bias"));
  CHECK_FALSE(hf_to_gguf_name(mamba, "backbone.layers.3.mixer.dt_proj"));
}

TEST_CASE("names: values come back from GGUF's", "[names]") {
  for (const float value : {-3.0F, -0.1F, 0.0F, 0.7F, 2.5F}) {
    CHECK(hf_value(ValueMap::kSame, gguf_value(ValueMap::kSame, value)) == value);
    CHECK(gguf_value(ValueMap::kPlusOne, value) == value + 1);
    CHECK(hf_value(ValueMap::kPlusOne, gguf_value(ValueMap::kPlusOne, value)) == value + 1 - 1);
    CHECK(gguf_value(ValueMap::kMinusExp, value) < 0);
    // A float32 close to -exp(value) is off by 2^-25 of itself, its logarithm by as much.
    CHECK(std::abs(hf_value(ValueMap::kMinusExp, gguf_value(ValueMap::kMinusExp, value)) - value) <=
          2.4e-7F);
  }
}

TEST_CASE("names: rows of q, k and v of each key head come to lie in three parts", "[names]") {
  constexpr std::int64_t kDim = 4, kGroup = 3, kKvHeads = 2;
  std::set<std::int64_t> seen;
  for (std::int64_t of = 0; of < kKvHeads; ++of) {
    for (std::int64_t slot = 0; slot < kGroup + 2; ++slot) {
      for (std::int64_t i = 0; i < kDim; ++i) {
        const std::int64_t head = slot < kGroup    ? of * kGroup + slot
                                  : slot == kGroup ? kGroup * kKvHeads + of
                                                   : (kGroup + 1) * kKvHeads + of;
        const std::int64_t row = (of * (kGroup + 2) + slot) * kDim + i;
        CHECK(gguf_qkv_row(row, kDim, kGroup, kKvHeads) == head * kDim + i);
        CHECK(seen.insert(head * kDim + i).second);
      }
    }
  }
}

TEST_CASE("names: what no rule knows has no name", "[names]") {
  const NameFamily& llama = *family_of_gguf("llama");
  for (const char* name :
       {"", ".weight", "token_embd", "token_embd.scale", "blk..attn_q.weight",
        "blk.00.attn_q.weight", "blk.-1.attn_q.weight", "blk.1x.attn_q.weight",
        "blk.9999999.attn_q.weight", "blk.0.ffn_gate_exps.weight", "xtoken_embd.weight"}) {
    INFO(name);
    CHECK_FALSE(gguf_to_hf_name(llama, name));
  }
  CHECK(family_of_gguf("unheard-of") == nullptr);
  CHECK(family_of_model_type("opt") == nullptr);
}

TEST_CASE("names: GGUF row 2i + j of a head is row j * D/2 + i of transformers, and back",
          "[names]") {
  constexpr std::int64_t kHeads = 3, kDim = 8;
  for (std::int64_t head = 0; head < kHeads; ++head) {
    for (std::int64_t i = 0; i < kDim / 2; ++i) {
      for (std::int64_t j = 0; j < 2; ++j) {
        CHECK(gguf_row(head * kDim + j * (kDim / 2) + i, kDim) == head * kDim + 2 * i + j);
        CHECK(hf_row(head * kDim + 2 * i + j, kDim) == head * kDim + j * (kDim / 2) + i);
      }
    }
  }
}

}  // namespace lancet
