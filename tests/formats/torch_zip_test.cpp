// PyTorch's .bin: files that torch.save wrote (tests/oracle/make_torch_goldens.py), and damaged
// ones.

#include "formats/containers/torch_zip.h"

#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/file.h"
#include "formats/adapter/peft.h"
#include "formats/checkpoint.h"
#include "formats/containers/pickle.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

fs::path stored(const std::string& name) {
  const char* folder = std::getenv("LANCET_TEST_DATA");
  return fs::path(folder != nullptr ? folder : LANCET_TEST_DATA) / "torch" / (name + ".bin");
}

/// A directory that holds the stored file as pytorch_model.bin.
std::shared_ptr<const Checkpoint> opened(const Scratch& scratch, const std::string& name) {
  fs::copy_file(stored(name), scratch / "pytorch_model.bin");
  return Checkpoint::open(scratch.path());
}

template <typename T>
std::vector<T> values(const Checkpoint& checkpoint, std::string_view name) {
  const Bytes bytes = checkpoint.data(*checkpoint.find(name));
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

Error refusal(const std::string& name) {
  const Scratch scratch;
  try {
    static_cast<void>(opened(scratch, name));
  } catch (const Error& error) {
    return error;
  }
  return {ErrorKind::kInternal, "test", "accepted"};
}

std::string bytes_of(const std::string& name) { return read_file(stored(name), 1 << 20); }

}  // namespace

TEST_CASE("torch: a module's state dict", "[torch]") {
  const Scratch scratch;
  const auto checkpoint = opened(scratch, "linear");
  CHECK(checkpoint->form() == CheckpointForm::kHuggingFace);
  REQUIRE(checkpoint->tensors().size() == 2);
  CHECK(checkpoint->find("weight")->shape == std::vector<std::int64_t>{4, 3});
  CHECK(checkpoint->find("bias")->dtype == DType::kF32);
  const auto alone = Checkpoint::open(stored("linear"));
  CHECK(alone->form() == CheckpointForm::kPyTorch);
  CHECK(alone->weights_alone());
  CHECK(values<float>(*alone, "bias") == values<float>(*checkpoint, "bias"));
}

TEST_CASE("torch: an adapter's weights, unless there are safetensors", "[torch]") {
  const Scratch scratch;
  write_file(scratch / "adapter_config.json",
             R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q"]})");
  CHECK_THROWS_WITH(Adapter::open(scratch.path()), Catch::Contains("or adapter_model.bin"));
  fs::copy_file(stored("adapter"), scratch / "adapter_model.bin");
  const auto adapter = Adapter::open(scratch.path());
  REQUIRE(adapter->modules().size() == 1);
  const LoraModule& own = adapter->modules().front();
  CHECK(own.name == "model.layers.0.q");
  CHECK(own.rank == 2);
  CHECK(adapter->values(*own.a) == std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(adapter->values(*own.b) == std::vector<float>{0, 1, 4, 5, 8, 9});
  write_file(scratch / "adapter_model.safetensors", "damaged");
  CHECK_THROWS_AS(Adapter::open(scratch.path()), Error);
}

TEST_CASE("torch: tensors of every kind have their values", "[torch]") {
  const Scratch scratch;
  const auto checkpoint = opened(scratch, "kinds");
  const std::map<std::string, DType> kinds{
      {"parameter", DType::kF32}, {"f64", DType::kF64},   {"f16", DType::kF16},
      {"bf16", DType::kBF16},     {"f8", DType::kF8E4M3}, {"i64", DType::kI64},
      {"i32", DType::kI32},       {"i16", DType::kI16},   {"i8", DType::kI8},
      {"u8", DType::kU8},         {"u16", DType::kU16},   {"bool", DType::kBool},
      {"scalar", DType::kF32},    {"empty", DType::kF32}};
  CHECK(checkpoint->tensors().size() == kinds.size());
  for (const auto& [name, dtype] : kinds) {
    INFO(name);
    REQUIRE(checkpoint->find(name) != nullptr);
    CHECK(checkpoint->find(name)->dtype == dtype);
  }
  CHECK(values<double>(*checkpoint, "f64")[11] == 11);
  CHECK(values<float>(*checkpoint, "parameter")[5] == 5);
  CHECK(values<std::int64_t>(*checkpoint, "i64") == std::vector<std::int64_t>{-1, 0, 1});
  CHECK(values<std::uint16_t>(*checkpoint, "bf16")[2] == 0x4000);
  CHECK(values<float>(*checkpoint, "scalar") == std::vector<float>{3.5F});
  CHECK(checkpoint->find("scalar")->shape.empty());
  CHECK(checkpoint->find("empty")->bytes == 0);
}

TEST_CASE("torch: views of one storage keep their places", "[torch]") {
  const Scratch scratch;
  const auto checkpoint = opened(scratch, "views");
  CHECK(values<float>(*checkpoint, "row") == std::vector<float>{4, 5, 6, 7});
  CHECK(values<float>(*checkpoint, "rows").back() == 11);
  CHECK(values<float>(*checkpoint, "thin") == std::vector<float>{0, 4, 8});
  CHECK(checkpoint->find("row")->offset == checkpoint->find("whole")->offset + 16);
}

TEST_CASE("torch: an index joins shards", "[torch]") {
  const Scratch scratch;
  fs::copy_file(stored("linear"), scratch / "pytorch_model-00001-of-00002.bin");
  fs::copy_file(stored("views"), scratch / "pytorch_model-00002-of-00002.bin");
  Json index;
  for (const char* name : {"weight", "bias"})
    index["weight_map"][name] = "pytorch_model-00001-of-00002.bin";
  for (const char* name : {"whole", "row", "rows", "thin"})
    index["weight_map"][name] = "pytorch_model-00002-of-00002.bin";
  write_file(scratch / "pytorch_model.bin.index.json", dump_json(index));
  CHECK(Checkpoint::open(scratch.path())->tensors().size() == 6);
}

TEST_CASE("torch: what is no state dict is refused and never run", "[torch]") {
  const std::map<std::string, std::string> wrong{
      {"program", "system', which is not run"},    {"module", "Linear', which is not run"},
      {"nested", "a tensor under 'model'"},        {"number", "a tensor under 'step'"},
      {"protocol4", "pickle protocol 2, found 4"}, {"legacy", "a zip archive"}};
  for (const auto& [name, message] : wrong) {
    INFO(name);
    const Error error = refusal(name);
    CHECK(error.kind() == ErrorKind::kInput);
    CHECK_THAT(error.message(), Catch::Contains(message));
    CHECK_FALSE(error.hint().empty());
  }
  CHECK(refusal("strided").kind() == ErrorKind::kMismatch);
}

TEST_CASE("torch: a damaged byte is an input error or changes values alone", "[torch]") {
  for (const char* name : {"linear", "views", "kinds"}) {
    const std::string whole = bytes_of(name);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const unsigned flip : {0x01U, 0x80U, 0xFFU}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ flip);
        try {
          for (const TensorInfo& tensor :
               parse_torch_zip(std::as_bytes(std::span(damaged)), "damaged")) {
            REQUIRE(tensor.offset + tensor.bytes <= damaged.size());
            REQUIRE(dtype_bytes(tensor.dtype, tensor.elements()) == tensor.bytes);
          }
        } catch (const Error& error) {
          REQUIRE((error.kind() == ErrorKind::kInput || error.kind() == ErrorKind::kMismatch));
        }
      }
    }
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CHECK_THROWS_AS(parse_torch_zip(std::as_bytes(std::span(whole).first(size)), "cut"), Error);
    }
  }
}

TEST_CASE("torch: pickles that do not fit together are input errors", "[torch]") {
  const std::string start = "\x80\x02";  // protocol 2
  const auto read = [&](const std::string& code) {
    const std::string pickle = start + code;
    return parse_state_dict(std::as_bytes(std::span(pickle)), "hand");
  };
  CHECK(read("}.").empty());
  for (const std::string& code : std::vector<std::string>{"",
                                                          ".",
                                                          "}",
                                                          "}}.",
                                                          "(.",
                                                          "}.x",
                                                          "t.",
                                                          "}(u.}",
                                                          "}(K\x01u.",
                                                          "R.",
                                                          ")R.",
                                                          "]]R.",
                                                          "h\x05.",
                                                          "}r\xff\xff\xff\xff.",
                                                          "X\xff\xff\xff\xff.",
                                                          "}K\x01K\x01s.",
                                                          "K\x01.",
                                                          "ccollections\nOrderedDict\n.",
                                                          "cos\nsystem\n.",
                                                          ")Q.",
                                                          "\x8a\x09.",
                                                          "(}}u.",
                                                          "}(\x85.",
                                                          "}(b.",
                                                          "ctorch\nFloatStorage\n)R.",
                                                          "ctorch._utils\n_rebuild_tensor_v2\n)R.",
                                                          "c"}) {
    INFO(code);
    try {
      static_cast<void>(read(code));
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kInput);
    }
  }
}

}  // namespace lancet
