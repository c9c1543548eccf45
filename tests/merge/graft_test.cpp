// Token transplant on tiny models: which token is which, and what the rows are made of.
#include "merge/graft.h"

#include "core/error.h"
#include "tests/catch.h"
#include "tests/formats/bpe_json.h"
#include "tests/merge/memory.h"

using namespace lancet;
using namespace lancet::test;

namespace {

/// BPE over pieces that are merged from their characters, ids in order; special tokens behind.
Json tokenizer_of(const std::vector<std::string>& pieces, const std::vector<std::string>& special,
                  const std::vector<std::pair<std::string, std::string>>& merges, bool byte_level) {
  Json vocab = Json::object(), added = Json::array(), pairs = Json::array();
  for (const std::string& piece : pieces) vocab[piece] = vocab.size();
  for (const std::string& name : special)
    added.push_back(special_token(pieces.size() + added.size(), name));
  for (const auto& [left, right] : merges) pairs.push_back({left, right});
  if (byte_level) return byte_level_json(vocab, pairs, added);
  Json out = bpe_json(vocab, pairs, added);
  out["model"]["byte_fallback"] = true;
  out["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}};
  out["decoder"] = {{"type", "Sequence"},
                    {"decoders",
                     {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                      {{"type", "ByteFallback"}},
                      {{"type", "Fuse"}}}}};
  return out;
}

constexpr std::int64_t kWidth = 3;

Values rows_of(const fs::path& path, const std::string& name) {
  const ModelSource source = ModelSource::open(path);
  const TensorInfo& tensor = source.at(name);
  std::vector<float> values(tensor.elements());
  source.read_f32(tensor, 0, tensor.shape[0], values);
  return {values.begin(), values.end()};
}

Values row(const Values& table, std::size_t r, std::size_t width = kWidth) {
  return {table.begin() + static_cast<std::ptrdiff_t>(r * width),
          table.begin() + static_cast<std::ptrdiff_t>((r + 1) * width)};
}

/// A byte-level model, untied with a biased head, and a donor of the other kind.
struct Two {
  Scratch scratch;
  Two() {
    // a b c " the" "ab" <s> </s>
    save("model",
         tokenizer_of({"a", "b", "c", "Ġ", "t", "Ġt", "h", "e", "Ċ", "ab"}, {"<s>", "</s>"},
                      {{"Ġ", "t"}, {"a", "b"}}, true),
         12, R"({"bos_token": "<s>", "eos_token": "</s>"})", true, {{"eos_token_id", 11}});
    // shared: b a "▁t" ab and the byte of "\n"; new: "abc", "▁ta"; special: by name and by role
    save(
        "donor",
        tokenizer_of({"b", "a", "▁t", "ab", "<0x0A>", "abc", "▁ta"}, {"<s>", "<|end|>"}, {}, false),
        10, R"({"bos_token": "<s>", "eos_token": {"content": "<|end|>"}})", false,
        {{"eos_token_id", 8}, {"bos_token_id", 7}});
  }

  void save(const std::string& name, const Json& tokenizer, int rows, const std::string& config,
            bool head, Json ids) const {
    Json model{{"model_type", "llama"}, {"vocab_size", rows}, {"tie_word_embeddings", !head}};
    model.update(ids);
    NamedTensors tensors{{"model.embed_tokens.weight",
                          {{rows, kWidth},
                           random_values(static_cast<std::size_t>(rows) * kWidth,
                                         static_cast<unsigned>(name.size()))}},
                         {"model.norm.weight", {{kWidth}, {1, 2, 3}}}};
    if (head) {
      tensors["lm_head.weight"] = {{rows, kWidth},
                                   random_values(static_cast<std::size_t>(rows) * kWidth, 77)};
      tensors["lm_head.bias"] = {{rows}, random_values(static_cast<std::size_t>(rows), 78)};
    }
    save_model(scratch / name, tensors, DType::kF32, model);
    write_file(scratch / name / "tokenizer.json", dump_json(tokenizer));
    write_file(scratch / name / "tokenizer_config.json", config);
  }

  Json graft(GraftOptions options, const std::string& out = "out") const {
    Graft graft(scratch / "model", scratch / "donor", std::move(options));
    graft.solve();
    static_cast<void>(write_model(scratch / out, graft.tensors(), graft.side_files(), {}));
    report = graft.report();
    return graft.plan();
  }
  mutable std::string report;
};

}  // namespace

TEST_CASE_METHOD(Two,
                 "graft: tokens that spell alike keep the model's rows, whatever their pieces") {
  const Json plan = graft({});
  CHECK(plan["tokens"] == 9);
  CHECK(plan["rows"] == 10);
  CHECK(plan["shared"] == 5);
  CHECK(plan["special"] == 2);
  CHECK(plan["made"] == 2);
  CHECK(plan["padding"] == 1);
  for (const std::string name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const Values before = rows_of(scratch / "model", name), after = rows_of(scratch / "out", name);
    REQUIRE(after.size() == 10 * kWidth);
    // b a " t" ab "\n" . . <s> </s>
    const std::vector<std::pair<std::size_t, std::size_t>> same{{0, 1}, {1, 0},  {2, 5}, {3, 9},
                                                                {4, 8}, {7, 10}, {8, 11}};
    for (const auto& [to, from] : same) CHECK(row(after, to) == row(before, from));
    Values mean(kWidth);
    for (std::size_t i = 0; i < before.size(); ++i) mean[i % kWidth] += before[i] / 12;
    for (std::size_t i = 0; i < kWidth; ++i)
      CHECK(row(after, 9)[i] == Approx(mean[i]).margin(1e-7));
  }
  CHECK(rows_of(scratch / "out", "lm_head.bias")[0] ==
        rows_of(scratch / "model", "lm_head.bias")[1]);
  CHECK(rows_of(scratch / "out", "model.norm.weight") == Values{1, 2, 3});
}

TEST_CASE_METHOD(Two, "graft: a new token is the donor's combination, of the model's rows") {
  graft({.pursuit = {.atoms = 2}});
  const Values theirs = rows_of(scratch / "donor", "model.embed_tokens.weight");
  const std::vector<std::uint32_t> atoms{0, 1, 2, 3, 4}, to{1, 0, 5, 9, 8};
  const MemoryReader reader("donor", {10, kWidth}, theirs);
  const std::vector<std::uint32_t> targets{5, 6};
  const auto fits =
      pursue(Atoms(reader, atoms, 1 << 20), reader, targets, {.atoms = 2}, [](std::size_t) {});
  for (const std::string name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const Values before = rows_of(scratch / "model", name), after = rows_of(scratch / "out", name);
    for (std::size_t t = 0; t < 2; ++t) {
      for (std::size_t i = 0; i < kWidth; ++i) {
        double wanted = 0;
        for (std::size_t k = 0; k < fits[t].atoms.size(); ++k)
          wanted += fits[t].weights[k] * row(before, to[fits[t].atoms[k]])[i];
        CHECK(row(after, targets[t])[i] == Approx(wanted).epsilon(1e-6));
      }
    }
  }
  const Json line = parse_json(report.substr(0, report.find('\n')), "report");
  CHECK(line["token"] == "b");
  CHECK(line["origin"] == "shared");
  CHECK(line["embedding"]["from"][0]["token"] == "b");
}

TEST_CASE_METHOD(Two, "graft: subwords are what the model's own tokenizer makes of the text") {
  const auto check = [&](SubwordRule rule, const std::string& out, const auto& combine) {
    graft({.method = GraftMethod::kSubword, .subword = rule}, out);
    const Values before = rows_of(scratch / "model", "model.embed_tokens.weight");
    const Values after = rows_of(scratch / out, "model.embed_tokens.weight");
    for (std::size_t i = 0; i < kWidth; ++i) {
      CHECK(row(after, 5)[i] == Approx(combine(row(before, 9)[i], row(before, 2)[i])));  // ab c
      CHECK(row(after, 6)[i] == Approx(combine(row(before, 5)[i], row(before, 0)[i])));  // " t" a
    }
  };
  check(SubwordRule::kMean, "mean", [](double a, double b) { return (a + b) / 2; });
  check(SubwordRule::kSum, "sum", [](double a, double b) { return a + b; });
  check(SubwordRule::kFirst, "first", [](double a, double) { return a; });
  check(SubwordRule::kLast, "last", [](double, double b) { return b; });
}

TEST_CASE_METHOD(Two, "graft: prefixes, given tokens and byte tokens follow their options") {
  graft({.prefix = GraftTables::kHead, .given = {{"abc", "c"}}}, "a");
  const Values head = rows_of(scratch / "model", "lm_head.weight");
  const Values embedding = rows_of(scratch / "model", "model.embed_tokens.weight");
  CHECK(row(rows_of(scratch / "a", "lm_head.weight"), 6) == row(head, 5));  // " ta" begins " t"
  CHECK(row(rows_of(scratch / "a", "model.embed_tokens.weight"), 6) != row(embedding, 5));
  CHECK(row(rows_of(scratch / "a", "model.embed_tokens.weight"), 5) == row(embedding, 2));
  CHECK(graft({.match_bytes = false}, "b")["shared"] == 4);
  CHECK_THROWS_WITH(graft({.given = {{"nowhere", "c"}}}, "c"), Catch::Contains("nowhere"));
  CHECK(graft({.pad_to = 8}, "d")["rows"] == 16);
}

TEST_CASE_METHOD(Two, "graft: configuration and tokenizer are the donor's") {
  graft({});
  const Json config = read_json(scratch / "out" / "config.json");
  CHECK(config["vocab_size"] == 10);
  CHECK(config["eos_token_id"] == 8);
  CHECK(config["bos_token_id"] == 7);
  CHECK(config["tie_word_embeddings"] == false);
  CHECK(read_file(scratch / "out" / "tokenizer.json") ==
        read_file(scratch / "donor" / "tokenizer.json"));
}

TEST_CASE_METHOD(Two, "graft: a model onto itself is that model, bit for bit") {
  Graft graft(scratch / "model", scratch / "model", {});
  graft.solve();
  static_cast<void>(write_model(scratch / "self", graft.tensors(), graft.side_files(), {}));
  CHECK(read_file(scratch / "self" / "model.safetensors") ==
        read_file(scratch / "model" / "model.safetensors"));
}
