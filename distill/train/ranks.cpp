#include "distill/train/ranks.h"

#include <chrono>
#include <exception>
#include <vector>

#include <ATen/ATen.h>
#ifdef LANCET_GLOO
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif

#include "core/error.h"
#include "core/text.h"

namespace lancet {

#ifdef LANCET_GLOO

struct Ranks::Group {
  c10::intrusive_ptr<c10d::TCPStore> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;

  void reduce(const at::Tensor& tensor, c10d::ReduceOp::RedOpType how) const {
    std::vector<at::Tensor> tensors{tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = how;
    gloo->allreduce(tensors, options)->wait();
  }
  void spread(const at::Tensor& tensor) const {
    std::vector<at::Tensor> tensors{tensor};
    gloo->broadcast(tensors)->wait();
  }
};

namespace {

constexpr const char* kFailure = "lancet/failure";
constexpr std::chrono::minutes kPatience{60};  // of one operation: the slowest rank's step

/// What c10d throws, as our error.
template <typename Body>
auto guarded(const RankPlace& place, const Body& body) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string text = error.what();
    fail(ErrorKind::kResource, "train",
         "rank " + std::to_string(place.rank) + " of " + std::to_string(place.size) +
             " lost the others: " + printable(text.substr(0, text.find('\n')), 300),
         "a rank that stopped by itself says why; on machines with several networks: "
         "GLOO_SOCKET_IFNAME");
  }
}

template <typename T>
at::Tensor view_of(std::span<T> values, at::ScalarType dtype) {
  return at::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, dtype);
}

/// How one rank's work has ended: 0, or the kind of its error.
struct Ending {
  int kind = 0;
  std::string why;
};

Ending ending_of(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {known.exit_code(), known.message()};
  } catch (const std::exception& other) {
    return {static_cast<int>(ErrorKind::kInternal), other.what()};
  }
}

}  // namespace

Ranks::Ranks(const RankPlace& place, double seconds) : place_(place) {
  if (place.size == 1) return;
  const auto wait = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
  guarded(place, [&] {
    c10d::TCPStoreOptions options;
    options.port = place.port;
    options.isServer = place.rank == 0;
    options.numWorkers = static_cast<std::size_t>(place.size);
    options.timeout = wait;
    if (place.listener >= 0) {
      options.masterListenFd = place.listener;
      options.useLibUV = false;
    }
    group_ = std::make_unique<Group>();
    group_->store = c10::make_intrusive<c10d::TCPStore>(place.host, options);
    group_->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(
        group_->store, static_cast<int>(place.rank), static_cast<int>(place.size),
        c10d::ProcessGroupGloo::Options::create_default(wait));
    group_->gloo->setTimeout(kPatience);
  });
}

void Ranks::together(const std::function<void()>& body) const {
  if (group_ == nullptr) return body();
  std::exception_ptr own;
  try {
    body();
  } catch (...) {
    own = std::current_exception();
  }
  const Ending ending = ending_of(own);
  const at::Tensor worst = at::scalar_tensor(std::int64_t{ending.kind}, at::kLong);
  try {
    if (own && !group_->store->check({kFailure})) {
      const std::string text = "rank " + std::to_string(place_.rank) + ": " + ending.why;
      group_->store->set(kFailure, std::vector<std::uint8_t>(text.begin(), text.end()));
    }
    guarded(place_, [&] { group_->reduce(worst, c10d::ReduceOp::MAX); });
  } catch (...) {
    if (own) std::rethrow_exception(own);  // the others may be gone already
    throw;
  }
  if (own) std::rethrow_exception(own);
  const auto kind = worst.item<std::int64_t>();
  if (kind == 0) return;
  guarded(place_, [&] {
    const auto bytes = group_->store->get(kFailure);
    fail(static_cast<ErrorKind>(kind), "train",
         "stopped with " + std::string(bytes.begin(), bytes.end()));
  });
}

void Ranks::sum(std::span<float> values) const {
  if (group_ == nullptr || values.empty()) return;
  guarded(place_, [&] { group_->reduce(view_of(values, at::kFloat), c10d::ReduceOp::SUM); });
}

void Ranks::sum(std::span<double> values) const {
  if (group_ == nullptr || values.empty()) return;
  guarded(place_, [&] { group_->reduce(view_of(values, at::kDouble), c10d::ReduceOp::SUM); });
}

void Ranks::broadcast(std::span<std::byte> bytes) const {
  if (group_ == nullptr || bytes.empty()) return;
  guarded(place_, [&] { group_->spread(view_of(bytes, at::kByte)); });
}

std::string Ranks::broadcast(const std::string& text) const {
  if (group_ == nullptr) return text;
  const at::Tensor size = at::scalar_tensor(static_cast<std::int64_t>(text.size()), at::kLong);
  guarded(place_, [&] { group_->spread(size); });
  std::string out =
      first() ? text : std::string(static_cast<std::size_t>(size.item<std::int64_t>()), ' ');
  broadcast(std::as_writable_bytes(std::span(out)));
  return out;
}

bool Ranks::agree(const std::string& text) const {
  if (group_ == nullptr) return true;
  const std::int64_t differs = broadcast(text) == text ? 0 : 1;
  const at::Tensor any = at::scalar_tensor(differs, at::kLong);
  guarded(place_, [&] { group_->reduce(any, c10d::ReduceOp::MAX); });
  return any.item<std::int64_t>() == 0;
}

#else

struct Ranks::Group {};

Ranks::Ranks(const RankPlace& place, double) : place_(place) {
  if (place.size == 1) return;
  fail(ErrorKind::kResource, "train",
       "expected a build with c10d for " + std::to_string(place.size) +
           " processes, found one without Gloo's headers",
       "install libgloo-dev (scripts/setup.sh does) and build again");
}
void Ranks::together(const std::function<void()>& body) const { body(); }
void Ranks::sum(std::span<float>) const {}
void Ranks::sum(std::span<double>) const {}
void Ranks::broadcast(std::span<std::byte>) const {}
std::string Ranks::broadcast(const std::string& text) const { return text; }
bool Ranks::agree(const std::string&) const { return true; }

#endif

Ranks::Ranks() = default;
Ranks::~Ranks() = default;

}  // namespace lancet
