// Delta, apply and undo on files.
#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/parallel.h"
#include "formats/quant/decode.h"
#include "surgery/files/delta.h"
#include "surgery/files/lora.h"
#include "surgery/files/sketch.h"
#include "surgery/files/undo.h"
#include "tests/catch.h"
#include "tests/surgery/tiny_edit.h"

using namespace lancet;

namespace {

const std::string kMatrix = "model.layers.1.mlp.down_proj.weight";

std::vector<float> random_values(std::string_view name, std::size_t count, float scale) {
  std::vector<float> out(count);
  Random(3, name).fill_normal(0, out);
  for (float& value : out) value *= scale;
  return out;
}

/// A delta of some edits ("a", "b", ...) with one column each for `kMatrix` of `model`.
Delta make_delta(const fs::path& model, const std::vector<std::string>& ids, float scale = 0.05F) {
  const ModelSource source = ModelSource::open(model);
  const PlainTensor base = read_plain(source, kMatrix);
  Delta delta;
  delta.ledger.stages.push_back({"rome", Json::object(), 0, {1}, nullptr, {"{}"}, "test", nullptr});
  delta.ledger.tensors.push_back({kMatrix, 1, MatrixLayout::kOutIn, tiny_edit::kModel,
                                  tiny_edit::kFf, std::string(dtype_info(base.dtype).name),
                                  plain_sha256(base)});
  const auto rank = static_cast<std::int64_t>(ids.size());
  delta.tensors.push_back({kMatrix, rank,
                           random_values("left" + ids[0], ids.size() * tiny_edit::kModel, scale),
                           random_values("right" + ids[0], ids.size() * tiny_edit::kFf, 1)});
  for (std::int64_t i = 0; i < rank; ++i) {
    const std::string& id = ids[static_cast<std::size_t>(i)];
    delta.ledger.edits.push_back({id,
                                  0,
                                  {{"subject", id}, {"prompt", "{} is"}, {"target", "x"}},
                                  nullptr,
                                  {{kMatrix, {i, i + 1}}}});
  }
  return delta;
}

ApplyOptions forced() {
  ApplyOptions options;
  options.force = true;
  return options;
}

std::string weight_hash(const fs::path& model) { return sha256_file(model / "model.safetensors"); }

ErrorKind kind_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.kind();
  }
  FAIL("no error");
  return ErrorKind::kInternal;
}

/// W + left right^T, element by element in float64, rounded to float32.
std::vector<float> obvious_edit(const std::vector<float>& w, const DeltaTensor& factors) {
  std::vector<float> out(w.size());
  const std::size_t width = tiny_edit::kFf;
  const auto rank = static_cast<std::size_t>(factors.rank);
  for (std::size_t i = 0; i < w.size(); ++i) {
    double sum = static_cast<double>(w[i]);
    for (std::size_t c = 0; c < rank; ++c) {
      sum += static_cast<double>(factors.left[i / width * rank + c]) *
             static_cast<double>(factors.right[i % width * rank + c]);
    }
    out[i] = static_cast<float>(sum);
  }
  return out;
}

}  // namespace

TEST_CASE("delta: a file reads back as it was written") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const Delta delta = make_delta(scratch / "m", {"a", "b"});
  save_delta(scratch / "d.safetensors", delta);
  const Delta again = load_delta(scratch / "d.safetensors");
  CHECK(ledger_to_json(again.ledger) == ledger_to_json(delta.ledger));
  CHECK(again.tensors[0].left == delta.tensors[0].left);
  CHECK(again.tensors[0].right == delta.tensors[0].right);
  const Json shown = describe_delta(scratch / "d.safetensors");
  CHECK(shown["kind"] == "delta");
  CHECK(shown["edits"].size() == 2);
  CHECK(shown["tensors"][0]["rank"] == 2);
}

TEST_CASE("delta: the norm of factors is that of their product") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const Delta delta = make_delta(scratch / "m", {"a", "b"});
  double sum = 0;
  for (const float value :
       obvious_edit(std::vector<float>(tiny_edit::kModel * tiny_edit::kFf, 0), delta.tensors[0])) {
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  CHECK(delta_norm(delta.tensors[0]) == Approx(std::sqrt(sum)).epsilon(1e-6));
}

TEST_CASE("delta: taking an edit out leaves the columns of the others") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const Delta delta = make_delta(scratch / "m", {"a", "b", "c"});
  const Delta rest = without_edits(delta, {"b"});
  REQUIRE(rest.tensors[0].rank == 2);
  CHECK(rest.tensors[0].left[1] == delta.tensors[0].left[2]);
  CHECK(rest.ledger.find_edit("c")->columns.at(kMatrix) ==
        std::pair<std::int64_t, std::int64_t>(1, 2));
  CHECK(without_edits(delta, {"a", "b", "c"}).tensors.empty());
  CHECK(kind_of([&] { (void)without_edits(delta, {"d"}); }) == ErrorKind::kUsage);
}

TEST_CASE("delta: damaged files are refused") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const Delta good = make_delta(scratch / "m", {"a", "b"});
  const auto refused = [&](const std::function<void(Delta&)>& damage) {
    Delta bad = good;
    damage(bad);
    save_delta(scratch / "bad.safetensors", bad);
    return kind_of([&] { (void)load_delta(scratch / "bad.safetensors"); }) == ErrorKind::kInput;
  };
  CHECK(refused([](Delta& d) { d.ledger.edits[1].columns[kMatrix] = {0, 1}; }));
  CHECK(refused([](Delta& d) { d.ledger.edits[1].columns[kMatrix] = {1, 9}; }));
  CHECK(refused([](Delta& d) { d.ledger.edits[1].id = "a"; }));
  CHECK(refused([](Delta& d) { d.ledger.edits[0].stage = 1; }));
  CHECK(refused([](Delta& d) { d.ledger.edits[0].columns["other"] = {0, 1}; }));
  CHECK(refused([](Delta& d) { d.tensors[0].left[3] = INFINITY; }));
  CHECK(kind_of([&] { (void)load_delta(scratch / "m" / "model.safetensors"); }) ==
        ErrorKind::kInput);
  CHECK(kind_of([&] { (void)load_delta(scratch / "m"); }) == ErrorKind::kInput);
}

TEST_CASE("apply: the written matrix is round(W + left right^T) and nothing else changes") {
  const Scratch scratch;
  const auto weights = tiny_edit::weights(1);
  tiny_edit::save(scratch / "m", weights);
  const Delta delta = make_delta(scratch / "m", {"a", "b"});
  save_delta(scratch / "d.safetensors", delta);
  const Json result = apply_delta(scratch / "m", {scratch / "d.safetensors"}, scratch / "e", {});
  CHECK(result["edits"] == Json({"a", "b"}));
  const ModelSource edited = ModelSource::open(scratch / "e"),
                    base = ModelSource::open(scratch / "m");
  CHECK(plain_values(read_plain(edited, kMatrix)) ==
        obvious_edit(weights.at(kMatrix), delta.tensors[0]));
  for (const TensorInfo& info : base.tensors()) {
    if (info.name != kMatrix)
      CHECK(plain_sha256(read_plain(edited, info.name)) ==
            plain_sha256(read_plain(base, info.name)));
  }
}

TEST_CASE("apply: sixteen-bit weights are rounded once, to nearest even") {
  const auto dtype = GENERATE(DType::kBF16, DType::kF16);
  const Scratch scratch;
  const auto weights = tiny_edit::weights(2);
  tiny_edit::save(scratch / "m", weights, dtype);
  const Delta delta = make_delta(scratch / "m", {"a"});
  const PlainTensor base = read_plain(ModelSource::open(scratch / "m"), kMatrix);
  const PlainTensor edited =
      apply_to_tensor(base, delta.ledger.tensors[0], delta.tensors[0], delta.ledger);
  const auto before = plain_values(base), after = plain_values(edited);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double exact = static_cast<double>(before[i]) +
                         static_cast<double>(delta.tensors[0].left[i / tiny_edit::kFf]) *
                             static_cast<double>(delta.tensors[0].right[i % tiny_edit::kFf]);
    // No neighbour in the dtype is nearer than the value that was stored.
    const auto bits = load_le<std::uint16_t>(edited.bytes.data() + 2 * i);
    for (const int step : {-1, 1}) {
      const auto other = static_cast<std::uint16_t>(bits + step);
      const double neighbor =
          static_cast<double>(dtype == DType::kBF16 ? bf16_to_f32(other) : f16_to_f32(other));
      REQUIRE(std::fabs(static_cast<double>(after[i]) - exact) <= std::fabs(neighbor - exact));
    }
  }
}

TEST_CASE("apply: a Conv1D matrix gets the transposed change") {
  const std::int64_t out = 5, in = 7;
  PlainTensor base{DType::kF32, {in, out}, {}};
  const auto values = random_values("w", 35, 1);
  base.bytes.resize(35 * 4);
  encode_f32(DType::kF32, values, base.bytes);
  Delta delta;
  delta.ledger.stages.emplace_back();
  delta.ledger.tensors.push_back({"w", 0, MatrixLayout::kInOut, out, in, "F32", ""});
  delta.tensors.push_back({"w", 1, random_values("l", 5, 1), random_values("r", 7, 1)});
  delta.ledger.edits.push_back({"a", 0, nullptr, nullptr, {{"w", {0, 1}}}});
  const auto edited =
      plain_values(apply_to_tensor(base, delta.ledger.tensors[0], delta.tensors[0], delta.ledger));
  for (std::size_t i = 0; i < 7; ++i) {
    for (std::size_t o = 0; o < 5; ++o) {
      const double sum = static_cast<double>(values[i * 5 + o]) +
                         static_cast<double>(delta.tensors[0].left[o]) *
                             static_cast<double>(delta.tensors[0].right[i]);
      REQUIRE(edited[i * 5 + o] == static_cast<float>(sum));
    }
  }
}

TEST_CASE("apply: the bytes do not depend on the number of threads") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1), DType::kBF16);
  save_delta(scratch / "d.safetensors", make_delta(scratch / "m", {"a", "b", "c"}));
  const int before = parallel::threads();
  std::vector<std::string> hashes;
  for (const int threads : {1, 2, 5}) {
    parallel::set_threads(threads);
    (void)apply_delta(scratch / "m", {scratch / "d.safetensors"}, scratch / "e", forced());
    hashes.push_back(weight_hash(scratch / "e"));
  }
  parallel::set_threads(before);
  CHECK(hashes[0] == hashes[1]);
  CHECK(hashes[0] == hashes[2]);
}

TEST_CASE("apply: another base, a conflict and an existing OUT are refused without --force") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  tiny_edit::save(scratch / "other", tiny_edit::weights(2));
  save_delta(scratch / "d.safetensors", make_delta(scratch / "m", {"a"}));
  const auto apply = [&](const char* model, const ApplyOptions& options) {
    return apply_delta(scratch / model, {scratch / "d.safetensors"}, scratch / "e", options);
  };
  CHECK(kind_of([&] { (void)apply("other", {}); }) == ErrorKind::kMismatch);
  CHECK_FALSE(fs::exists(scratch / "e"));
  CHECK_NOTHROW(apply("other", forced()));
  CHECK(kind_of([&] { (void)apply("m", {}); }) == ErrorKind::kUsage);
  Delta against = make_delta(scratch / "m", {"z"});
  against.ledger.edits[0].fact = {{"subject", "a"}, {"prompt", "{} is"}, {"target", "y"}};
  save_delta(scratch / "against.safetensors", against);
  CHECK(kind_of([&] {
          (void)apply_delta(scratch / "m",
                            {scratch / "d.safetensors", scratch / "against.safetensors"},
                            scratch / "f", {});
        }) == ErrorKind::kMismatch);
}

TEST_CASE("apply: two targets for one question are refused however it is cut") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  save_delta(scratch / "d.safetensors", make_delta(scratch / "m", {"a"}));
  const auto apply = [&](const char* target) {
    Delta other = make_delta(scratch / "m", {"z"});
    other.ledger.edits[0].fact = {{"subject", "a is"}, {"prompt", "{}"}, {"target", target}};
    save_delta(scratch / "z.safetensors", other);
    return apply_delta(scratch / "m", {scratch / "d.safetensors", scratch / "z.safetensors"},
                       scratch / target, {});
  };
  CHECK_THROWS_WITH(apply("y"), Catch::Contains("edits 'a' and 'z' give 'a is' different targets"));
  CHECK_NOTHROW(apply("x"));
}

TEST_CASE("apply: one edit twice is refused without --force, unless it was made on the first") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const fs::path once = scratch / "d.safetensors", again = scratch / "again.safetensors";
  save_delta(once, make_delta(scratch / "m", {"a"}));
  const auto apply = [&](const fs::path& second, const ApplyOptions& options) {
    return apply_delta(scratch / "m", {once, second}, scratch / "e", options);
  };
  CHECK(kind_of([&] { (void)apply(once, {}); }) == ErrorKind::kMismatch);
  CHECK_FALSE(fs::exists(scratch / "e"));
  CHECK_NOTHROW(apply(once, forced()));
  fs::remove_all(scratch / "e");
  (void)apply_delta(scratch / "m", {once}, scratch / "first", {});
  Delta more = make_delta(scratch / "first", {"a"});
  more.ledger.stages[0].follows = true;
  save_delta(again, more);
  CHECK_NOTHROW(apply(again, {}));
}

TEST_CASE("apply: the same model in another precision is taken, another model is not") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  tiny_edit::save(scratch / "half", tiny_edit::weights(1), DType::kBF16);
  tiny_edit::save(scratch / "other", tiny_edit::weights(2), DType::kBF16);
  Delta delta = make_delta(scratch / "m", {"a"});
  delta.ledger.tensors[0].base_sketch =
      sketch_plain(read_plain(ModelSource::open(scratch / "m"), kMatrix));
  save_delta(scratch / "d.safetensors", delta);
  CHECK_NOTHROW(apply_delta(scratch / "half", {scratch / "d.safetensors"}, scratch / "e", {}));
  CHECK(kind_of([&] {
          (void)apply_delta(scratch / "other", {scratch / "d.safetensors"}, scratch / "f", {});
        }) == ErrorKind::kMismatch);
}

TEST_CASE("apply: edits of different stages under nearly the same key are refused") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  const auto with_key = [&](const char* id, const char* target, const std::vector<float>& key) {
    Delta delta = make_delta(scratch / "m", {id});
    delta.ledger.edits[0].fact["target"] = target;
    delta.ledger.edits[0].keys[kMatrix] = key;
    save_delta(scratch / (std::string(id) + ".safetensors"), delta);
    return scratch / (std::string(id) + ".safetensors");
  };
  std::vector<float> key = random_values("key", tiny_edit::kFf, 1);
  const fs::path first = with_key("a", "x", key);
  key[0] += 0.1F;
  const fs::path same_target = with_key("b", "x", key), other = with_key("c", "y", key);
  const fs::path far = with_key("d", "y", random_values("far", tiny_edit::kFf, 1));
  const auto apply = [&](const fs::path& next, const char* out) {
    return kind_of([&] { (void)apply_delta(scratch / "m", {first, next}, scratch / out, {}); });
  };
  CHECK(apply(other, "e1") == ErrorKind::kMismatch);
  CHECK_NOTHROW(apply_delta(scratch / "m", {first, same_target}, scratch / "e2", {}));
  CHECK_NOTHROW(apply_delta(scratch / "m", {first, far}, scratch / "e3", {}));
}

TEST_CASE("apply: --plan checks and writes nothing") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(1));
  save_delta(scratch / "d.safetensors", make_delta(scratch / "m", {"a"}));
  ApplyOptions options;
  options.plan = true;
  const Json plan = apply_delta(scratch / "m", {scratch / "d.safetensors"}, scratch / "e", options);
  CHECK(plan["plan"] == true);
  CHECK(plan["bytes"].get<std::uint64_t>() > 0);
  CHECK_FALSE(fs::exists(scratch / "e"));
}

TEST_CASE("undo: all edits out gives the original bytes, whatever was stacked") {
  const auto dtype = GENERATE(DType::kF32, DType::kBF16, DType::kF16);
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(4), dtype);
  save_delta(scratch / "d1.safetensors", make_delta(scratch / "m", {"a", "b"}, 0.3F));
  (void)apply_delta(scratch / "m", {scratch / "d1.safetensors"}, scratch / "e1", {});
  save_delta(scratch / "d2.safetensors", make_delta(scratch / "e1", {"c"}, 0.3F));
  (void)apply_delta(scratch / "e1", {scratch / "d2.safetensors"}, scratch / "e2", {});
  CHECK(load_undo(undo_path(scratch / "e2")).ledger.edits.size() == 3);
  CHECK(weight_hash(scratch / "e2") != weight_hash(scratch / "m"));
  const Json result = undo_model(scratch / "e2", {}, scratch / "u", {});
  CHECK(result["exact"] == true);
  CHECK(weight_hash(scratch / "u") == weight_hash(scratch / "m"));
  CHECK_FALSE(fs::exists(scratch / "u" / kDeltaFile));
  CHECK_FALSE(fs::exists(scratch / "u" / kUndoFile));
}

TEST_CASE("undo: one edit out is the model that never had it") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(4), DType::kBF16);
  save_delta(scratch / "other.safetensors", make_delta(scratch / "m", {"a"}, 0.3F));
  save_delta(scratch / "only.safetensors", make_delta(scratch / "m", {"b"}, 0.3F));
  (void)apply_delta(scratch / "m", {scratch / "other.safetensors", scratch / "only.safetensors"},
                    scratch / "e", {});
  (void)apply_delta(scratch / "m", {scratch / "only.safetensors"}, scratch / "expected", {});
  const Json result = undo_model(scratch / "e", {"a"}, scratch / "u", {});
  CHECK(result["remaining"] == Json({"b"}));
  CHECK(weight_hash(scratch / "u") == weight_hash(scratch / "expected"));
  // The last stage taken out gives the stage before it, bit for bit.
  save_delta(scratch / "next.safetensors", make_delta(scratch / "e", {"c"}, 0.3F));
  (void)apply_delta(scratch / "e", {scratch / "next.safetensors"}, scratch / "e2", {});
  (void)undo_model(scratch / "e2", {"c"}, scratch / "u2", {});
  CHECK(weight_hash(scratch / "u2") == weight_hash(scratch / "e"));
  (void)undo_model(scratch / "u2", {"a", "b"}, scratch / "u3", {});
  CHECK(weight_hash(scratch / "u3") == weight_hash(scratch / "m"));
}

TEST_CASE("undo: in place keeps files of other hands and takes ledger and undo file away") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(4));
  save_delta(scratch / "d.safetensors", make_delta(scratch / "m", {"a"}));
  (void)apply_delta(scratch / "m", {scratch / "d.safetensors"}, scratch / "e", {});
  write_file(scratch / "e" / "notes.txt", "mine");
  (void)undo_model(scratch / "e", {}, std::nullopt, {});
  CHECK(weight_hash(scratch / "e") == weight_hash(scratch / "m"));
  CHECK(read_file(scratch / "e" / "notes.txt") == "mine");
  CHECK_FALSE(fs::exists(scratch / "e" / kUndoFile));
  CHECK_FALSE(fs::exists(scratch / "e" / kDeltaFile));
  CHECK_FALSE(fs::exists(scratch / "e.undo"));
}

TEST_CASE(
    "undo: a model that was changed after the edit, one without undo file and a damaged undo file "
    "are refused") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(4));
  save_delta(scratch / "d.safetensors", make_delta(scratch / "m", {"a"}));
  (void)apply_delta(scratch / "m", {scratch / "d.safetensors"}, scratch / "e", {});
  CHECK(kind_of([&] { (void)undo_model(scratch / "m", {}, scratch / "u", {}); }) ==
        ErrorKind::kInput);
  CHECK(kind_of([&] { (void)undo_model(scratch / "e", {"z"}, scratch / "u", {}); }) ==
        ErrorKind::kUsage);
  fs::copy(scratch / "e", scratch / "changed");
  tiny_edit::save(scratch / "changed", tiny_edit::weights(9));
  CHECK(kind_of([&] { (void)undo_model(scratch / "changed", {}, scratch / "u", {}); }) ==
        ErrorKind::kMismatch);
  UndoOptions force;
  force.force = true;
  CHECK(undo_model(scratch / "changed", {}, scratch / "u", force)["exact"] == false);
  std::string bytes = read_file(undo_path(scratch / "e"));
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(undo_path(scratch / "e"), bytes);
  CHECK(kind_of([&] { (void)undo_model(scratch / "e", {}, scratch / "v", {}); }) ==
        ErrorKind::kInput);
}

TEST_CASE("lora: base plus adapter is the edited matrix before rounding") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(4));
  const Delta delta = make_delta(scratch / "m", {"a", "b"});
  save_lora(scratch / "adapter", delta, "base", false);
  const Json config = read_json(scratch / "adapter" / "adapter_config.json");
  CHECK(config["peft_type"] == "LORA");
  CHECK(config["r"] == 2);
  CHECK(config["lora_alpha"] == 2);
  CHECK(config["target_modules"] == Json({"model.layers.1.mlp.down_proj"}));
  const MappedFile file(scratch / "adapter" / "adapter_model.safetensors");
  const auto header = parse_safetensors(file.bytes(), file.size(), "adapter");
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[0].name == "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight");
  CHECK(header.tensors[0].shape == std::vector<std::int64_t>{2, tiny_edit::kFf});
  CHECK(header.tensors[1].shape == std::vector<std::int64_t>{tiny_edit::kModel, 2});
  // lora_A[c][j] = right[j][c]
  const float* a = reinterpret_cast<const float*>(file.bytes().data() + header.tensors[0].offset);
  CHECK(a[tiny_edit::kFf + 5] == delta.tensors[0].right[5 * 2 + 1]);
  CHECK(kind_of([&] { save_lora(scratch / "adapter", delta, "base", false); }) ==
        ErrorKind::kUsage);
}
