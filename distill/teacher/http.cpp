#include "distill/teacher/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.h"
#include "distill/teacher/transfer.h"

namespace lancet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kIdleCheck = std::chrono::milliseconds(200);

/// curl_global_init is not thread-safe in every build: once, before the first pool.
void init_curl() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
      fail(ErrorKind::kInternal, "http", "libcurl could not be initialised");
  });
}

}  // namespace

struct HttpPool::State {
  HttpOptions options;
  CURLM* multi = nullptr;
  std::vector<std::unique_ptr<Transfer>> active;
  std::vector<std::unique_ptr<Transfer>> spare;  ///< to be used again
  Clock::time_point last_check = Clock::now();

  /// A handle for `request`: one that was set up for its like, else a new one.
  std::unique_ptr<Transfer> take(HttpRequest&& request) {
    const auto found = std::find_if(spare.rbegin(), spare.rend(),
                                    [&](const auto& each) { return each->fits(request); });
    if (found == spare.rend()) return std::make_unique<Transfer>(options, std::move(request));
    std::unique_ptr<Transfer> out = std::move(*found);
    spare.erase(std::next(found).base());
    out->use_for(std::move(request));
    return out;
  }

  /// Takes the transfer out of `active` and tells its owner.
  void finish(Transfer* transfer, CURLcode code) {
    const std::size_t place = transfer->place;
    std::unique_ptr<Transfer> own = std::move(active[place]);
    active[place] = std::move(active.back());
    active.pop_back();
    if (place < active.size()) active[place]->place = place;
    HttpResponse& out = own->now.response;
    out.failure = own->failure(code);
    out.message = own->message(code);
    out.stale = code == CURLE_ABORTED_BY_CALLBACK;  // on_send: libcurl would have sent it again
    curl_easy_getinfo(own->easy, CURLINFO_RESPONSE_CODE, &out.status);
    curl_easy_getinfo(own->easy, CURLINFO_TOTAL_TIME, &out.seconds);
    curl_multi_remove_handle(multi, own->easy);
    const Done done = std::move(own->now.done);
    HttpResponse response = std::move(out);
    spare.push_back(std::move(own));
    done(std::move(response));
  }

  void end_idle() {
    const auto now = Clock::now();
    if (now - last_check < kIdleCheck) return;
    last_check = now;
    std::vector<Transfer*> idle;
    for (const auto& each : active) {
      const std::chrono::duration<double> silence = now - each->now.last_byte;
      if (each->now.got_byte && silence.count() > each->request.idle_timeout)
        idle.push_back(each.get());
    }
    for (Transfer* each : idle) {
      each->now.idle = true;
      finish(each, CURLE_OPERATION_TIMEDOUT);
    }
  }
};

HttpPool::HttpPool(HttpOptions options) : state_(std::make_unique<State>()) {
  init_curl();
  state_->options = std::move(options);
  state_->multi = curl_multi_init();
  if (state_->multi == nullptr) throw std::bad_alloc();
  curl_multi_setopt(state_->multi, CURLMOPT_MAXCONNECTS, state_->options.connections);
}

HttpPool::~HttpPool() {
  for (const auto& each : state_->active) curl_multi_remove_handle(state_->multi, each->easy);
  state_->active.clear();
  state_->spare.clear();
  curl_multi_cleanup(state_->multi);
}

void HttpPool::start(HttpRequest request, Done done) {
  std::unique_ptr<Transfer> transfer = state_->take(std::move(request));
  transfer->now.done = std::move(done);
  transfer->place = state_->active.size();
  if (curl_multi_add_handle(state_->multi, transfer->easy) != CURLM_OK)
    fail(ErrorKind::kInternal, "http", "libcurl refused a request");
  state_->active.push_back(std::move(transfer));
}

void HttpPool::pump(std::chrono::milliseconds wait) {
  int running = 0;
  curl_multi_perform(state_->multi, &running);
  int left = 0;
  const auto drain = [&] {
    while (const CURLMsg* message = curl_multi_info_read(state_->multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      state_->finish(transfer, message->data.result);
    }
  };
  const std::size_t before = state_->active.size();
  drain();
  state_->end_idle();
  if (state_->active.size() < before) return;  // the caller may have more to send
  curl_multi_poll(state_->multi, nullptr, 0, static_cast<int>(wait.count()), nullptr);
}

std::size_t HttpPool::active() const noexcept { return state_->active.size(); }

}  // namespace lancet
