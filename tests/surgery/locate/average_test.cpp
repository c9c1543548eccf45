#include "surgery/locate/average.h"

#include "surgery/locate/arrays.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

using namespace lancet;

TEST_CASE("locate: averages by role are means over facts with 95 percent margins") {
  LocatePrompt a, b;
  a.ids.resize(4);
  a.subject_first = 0;
  a.subject_last = 1;
  b.ids.resize(6);
  b.subject_first = b.subject_last = 1;
  const std::vector<LocatePrompt> prompts{a, b};
  at::Tensor x = at::arange(8, at::kDouble).view({4, 2});
  at::Tensor y = at::arange(12, at::kDouble).view({6, 2}) * 10;
  const auto roles = average_roles(prompts, std::vector<at::Tensor>{x, y});
  REQUIRE(roles.size() == 5);  // neither subject has a middle token
  CHECK(roles[0].role == TokenRole::kFirstSubject);
  CHECK(roles[0].facts == 2);
  CHECK(roles[0].mean[0].item<double>() == Approx((0 + 20) / 2.0));
  // s of {0, 20} is 14.142; 1.96 * 14.142 / sqrt(2)
  CHECK(roles[0].margin[0].item<double>() == Approx(19.6).epsilon(1e-4));
  CHECK(roles[3].role == TokenRole::kFurther);
  CHECK(roles[3].facts == 1);
  CHECK(roles[3].mean[1].item<double>() == Approx((70 + 90) / 2.0));
  CHECK(std::isnan(roles[3].margin[0].item<double>()));
}

TEST_CASE("locate: arrays written as npz are read back, texts as UTF-32") {
  const Scratch scratch;
  Arrays arrays;
  arrays.add("scores", at::arange(6, at::kDouble).view({2, 3}));
  arrays.add("ids", at::tensor({3, -4}, at::kLong));
  arrays.add("low", 0.25);
  arrays.add("texts", std::vector<std::string>{"a", "\xE6\x9D\xB1\xE4\xBA\xAC"});
  arrays.add("kind", std::string("mlp"));
  arrays.save(scratch / "a.npz");
  const MappedFile file(scratch / "a.npz");
  const auto read = parse_npz(file.bytes(), "a.npz");
  REQUIRE(read.size() == 5);
  CHECK(read[0].shape == std::vector<std::int64_t>{2, 3});
  CHECK(npy_number(read[0], 5, "t") == 5.0);
  CHECK(npy_number(read[1], 1, "t") == -4);
  CHECK(read[2].shape.empty());
  CHECK(npy_number(read[2], 0, "t") == 0.25);
  CHECK(read[3].descr == "<U2");
  CHECK(load_le<std::uint32_t>(read[3].data.data() + 8) == 0x6771);
  CHECK(load_le<std::uint32_t>(read[3].data.data() + 4) == 0);
  CHECK(read[4].descr == "<U3");
  CHECK(read[4].shape.empty());
}
