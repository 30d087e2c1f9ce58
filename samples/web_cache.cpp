// A cache in front of a slow server: single_flight, concurrent_map, semaphore
//
// The problem: many clients ask for the same few pages. A page that is known is served at once. One that is not is
// fetched, but only once, however many ask for it meanwhile; and never more than two pages are being fetched, for the
// server takes no more connections. The cache keeps three pages, and drops the one that it has had for longest.
//
//     client ──▶ known? ──yes──────────────────────────────────▶ answer
//                  └──no──▶ single_flight ──▶ semaphore ──▶ server ──▶ cache
//
// Who gives up leaves the others theirs: zoe waits for a tenth of a second only, ann and ben get the page all the same.
//
// Run it with   ./dev run web_cache
// It prints what each client got, and when:
//
//     0.11 s  zoe has given up on /news
//     0.30 s  ann has got /news, fetched with others
//     ...
//     5 pages were fetched, at most 2 at a time

#include <leat/leat.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using seconds = std::chrono::duration<double>;
using page = std::string;

class web_cache {
public:
    leat::task<std::string> get(std::string url)
    {
        const auto known = pages_.load(url);
        if (known)
            co_return "from the cache";
        auto fetching = [this, url] { return fetch(url); };
        const auto got = co_await flights_.run(url, fetching);
        co_return got.shared ? "fetched with others" : "fetched";
    }

    int fetched() const
    {
        return fetched_;
    }
    int most_at_a_time() const
    {
        return most_at_a_time_;
    }

private:
    leat::task<page> fetch(std::string url)
    {
        page content;
        {
            const auto connection = co_await connections_.acquire();
            most_at_a_time_ = std::max(most_at_a_time_, ++at_a_time_);
            co_await leat::sleep_for(url == "/news" ? 300ms : url == "/shop" ? 200ms : 100ms);
            --at_a_time_;
            ++fetched_;
            content = "the page " + url;
        }
        keep(url, content);
        co_return content;
    }
    void keep(const std::string& url, const page& content)
    {
        pages_.store(url, content);
        while (!kept_.try_send(url)) {
            const auto oldest = kept_.try_recv();
            pages_.erase(*oldest);
        }
    }

    leat::concurrent_map<std::string, page> pages_;
    leat::channel<std::string> kept_{3};  // the oldest first
    leat::single_flight<std::string, page> flights_;
    leat::semaphore connections_{2};
    // Of one worker; with more they would be atomic.
    int at_a_time_ = 0, most_at_a_time_ = 0, fetched_ = 0;
};

struct visit {
    const char* client;
    std::chrono::milliseconds comes;
    const char* url;
    std::chrono::milliseconds patience = 1h;
    std::string got{};
    double at{};
};

leat::task<> ask(web_cache& cache, visit& mine, leat::clock::time_point opened)
{
    co_await leat::sleep_until(opened + mine.comes);
    const auto answer = co_await leat::as_result(leat::timeout(mine.patience, cache.get(mine.url)));
    mine.at = seconds(leat::clock::now() - opened).count();
    mine.got = answer ? std::string{"has got "} + mine.url + ", " + *answer
                      : std::string{"has given up on "} + mine.url;
}

leat::task<> day()
{
    std::vector<visit> visits;
    visits.push_back({"zoe", 5ms, "/news", 100ms});
    visits.push_back({"ann", 10ms, "/news"});
    visits.push_back({"ben", 15ms, "/news"});
    visits.push_back({"cat", 20ms, "/shop"});
    visits.push_back({"dan", 30ms, "/blog"});  // waits for a connection
    visits.push_back({"eve", 400ms, "/news"});
    visits.push_back({"fay", 410ms, "/help"});  // /shop has to go
    visits.push_back({"gus", 600ms, "/shop"});
    web_cache cache;
    const auto opened = leat::clock::now();
    co_await leat::with_group([&](leat::task_group& clients) -> leat::task<> {
        for (visit& each : visits)
            co_await clients.spawn(ask(cache, each, opened));
    });
    for (const visit& each : visits)
        std::printf("%.2f s  %s %s\n", each.at, each.client, each.got.c_str());
    std::printf("%d pages were fetched, at most %d at a time\n", cache.fetched(), cache.most_at_a_time());
}

}  // namespace

int main()
{
    leat::run(day(), {.workers = 1});
}
