"""The sample agents: somebody to answer a newcomer's first demand, one agent for every trade in the lexicon.

They are registered at the first start when `[demands] sample_agents` is on, and ordinary agents after
that. `SAMPLE_AGENTS` is what everybody sees; `POLICIES` is what each keeps to itself and `rules.py`
answers by."""

from typing import NamedTuple, TypedDict


class SampleAgent(TypedDict):
    """What `agent.registered` carries for a sample agent, without `sample`."""

    agent_id: str
    name: str
    capabilities: list[str]
    description: str


def _agent(agent_id: str, name: str, capabilities: str, description: str) -> SampleAgent:
    return {
        "agent_id": f"user_agent_{agent_id}",
        "name": name,
        "capabilities": capabilities.split("|"),
        "description": description,
    }


SAMPLE_AGENTS: tuple[SampleAgent, ...] = (
    _agent("bob", "Bob", "场地资源|venue|会议室 meeting rooms", "Halls and meeting rooms for 10 to 500 people."),
    _agent("alice", "Alice", "技术分享|technical talks|演讲嘉宾 speaker", "讲人工智能与分布式系统。Speaks at meetups."),
    _agent("charlie", "Charlie", "活动策划|event planning", "从方案到现场统筹。Concept, schedule, running the day."),
    _agent("diana", "Diana 黛安娜", "摄影|photography", "Portraits, products, events; pictures the next day."),
    _agent("victor", "映像工作室 Victor", "摄像与视频剪辑|videography|直播 livestreaming", "两机位起，当天出片。"),
    _agent("fang", "方记厨房", "餐饮|茶歇|catering", "中式、西式与清真，二十人起。"),
    _agent("gina", "Gina's Oven", "cakes and baking|烘焙甜品", "Birthday cakes to order, two days ahead."),
    _agent("lin", "林语", "翻译|translation|口译 interpreting", "中文、英文、日文，笔头与现场。"),
    _agent("mo", "墨色", "设计|graphic design|印刷 printing|3D打印 prototyping", "From the first sketch to the box."),
    _agent("hua", "花见", "花艺 florist|布置 decoration|设备租赁 equipment rental", "花、背景与桌椅，一次送到。"),
    _agent("rhythm", "The Rhythm Section", "live music|乐队|表演 performers", "Jazz trio, dancers and a magician."),
    _agent("song", "宋司仪", "主持人|emcee", "中英双语，熟悉大型场面。"),
    _agent("sven", "Sven", "sound and light|灯光音响", "PA, projectors and stage lighting with an operator."),
    _agent("che", "老车", "交通接送|transport|搬家 moving company", "九座商务到四十座客运，司机准时。"),
    _agent("hana", "Hana", "accommodation|住宿|导游 tour guide", "Rooms near the station and someone who knows the way."),
    _agent("lex", "Lex & Partner", "legal advice|法律咨询", "Contracts, companies and trademarks."),
    _agent("qian", "钱会计", "会计|accounting|报税 tax", "小微企业的账与税。"),
    _agent("ivy", "Ivy", "insurance|保险|投资 investment", "Cover for people and things; introductions to funds."),
    _agent("mei", "梅子传播", "营销推广|marketing|文案 copywriting", "小红书、公众号与线下海报墙。"),
    _agent("dev", "Dev", "web development|网站开发|IT support 网络安全", "Sites, apps and the servers under them."),
    _agent("shu", "数说", "数据分析|data analysis", "从表格到看板，讲得清楚。"),
    _agent("tutor_wang", "王家教", "家教辅导|tutoring", "中小学数学与英语，可上门。"),
    _agent("fiona", "Fiona", "fitness coach|健身瑜伽", "Personal and office sessions."),
    _agent("ann", "Ann", "first aid|急救医疗", "Paramedics for events of any size."),
    _agent("tie", "铁卫", "安保|security guards", "持证上岗，大型场面有经验。"),
    _agent("hao", "好邻居家政", "保洁|cleaning|维修 repair|装修 renovation|园艺 gardening", "家里家外，随叫随到。"),
    _agent("mina", "米娜", "化妆造型|makeup artist", "新娘、舞台与镜头前。"),
    _agent("nana", "Nana", "childcare|保姆|护工 elder care|宠物寄养 pet care", "For the small, the old and the furry."),
    _agent("rec", "良才", "招聘|recruiting|志愿者与签到 event staff", "从全职工程师到一日帮手。"),
    _agent("xin", "心田", "心理咨询|counselling", "个人与伴侣，线上或面谈。"),
    _agent("rita", "Rita", "real estate|办公室出租", "Flats and offices to let or to buy."),
)


class Bilingual(NamedTuple):
    """The same in both languages."""

    zh: str
    en: str


class Need(NamedTuple):
    """A capability (canonical name) that an agent needs of somebody else, from so many people on."""

    capability: str
    from_people: int


class AgentPolicy(NamedTuple):
    """What a sample agent can and wants to do. Prices are in USD; people are inclusive, `largest` None is no limit.

    `pitch` is one sentence; `condition` continues "provided that …" and "希望…"."""

    price: int
    per_person: int
    pitch: Bilingual
    smallest: int = 1
    largest: int | None = None
    days_off: tuple[int, ...] = ()  # 0 is Monday
    lowest_share: float = 0.85  # of the list price
    condition: Bilingual | None = None
    needs: tuple[Need, ...] = ()


_MONDAY, _TUESDAY, _WEDNESDAY, _SATURDAY, _SUNDAY = 0, 1, 2, 5, 6
_WEEKEND = (_SATURDAY, _SUNDAY)

POLICIES: dict[str, AgentPolicy] = {
    "user_agent_bob": AgentPolicy(
        200,
        4,
        Bilingual("场地有舞台、投影幕和无线网络。", "The hall has a stage, a screen and good Wi-Fi."),
        smallest=10,
        largest=500,
        days_off=(_MONDAY,),
        needs=(Need("security", 101),),
    ),
    "user_agent_alice": AgentPolicy(
        150,
        0,
        Bilingual("我准备一场四十分钟的分享，附带演示。", "I bring a forty-minute talk with a live demo."),
        smallest=8,
        largest=800,
        days_off=(_TUESDAY,),
        lowest_share=0.8,
        condition=Bilingual("留出十五分钟给听众提问", "there are fifteen minutes for questions after the talk"),
    ),
    "user_agent_charlie": AgentPolicy(
        300,
        5,
        Bilingual("方案、流程和现场统筹都由我负责。", "I take care of concept, schedule and the day itself."),
        smallest=10,
        largest=1_000,
        lowest_share=0.85,
        needs=(Need("catering", 20),),
    ),
    "user_agent_diana": AgentPolicy(
        250,
        1,
        Bilingual("全程跟拍，第二天交精修照片。", "I stay for the whole day and deliver edited pictures the next one."),
        largest=400,
        days_off=(_MONDAY,),
        condition=Bilingual("提前一天把必拍的画面列给我", "I get a list of the pictures that matter a day before"),
    ),
    "user_agent_victor": AgentPolicy(
        450,
        0,
        Bilingual("两机位拍摄，当天出片。", "Two cameras, and the film is ready the same day."),
        largest=2_000,
        days_off=(_WEDNESDAY,),
        lowest_share=0.8,
        condition=Bilingual("给机位预留一张两米的桌子", "a two-metre table is kept free for the cameras"),
    ),
    "user_agent_fang": AgentPolicy(
        80,
        12,
        Bilingual("热菜、茶歇和清真都可以做。", "Hot dishes, tea breaks and halal are all possible."),
        smallest=20,
        largest=600,
        lowest_share=0.8,
        needs=(Need("equipment_rental", 151),),
    ),
    "user_agent_gina": AgentPolicy(
        40,
        3,
        Bilingual("现烤现送，可以写字。", "Baked the same morning, with your words on top."),
        smallest=4,
        largest=150,
        days_off=(_SUNDAY,),
        lowest_share=0.9,
    ),
    "user_agent_lin": AgentPolicy(
        220,
        0,
        Bilingual(
            "中、英、日三语，译后由第二人校对。", "Chinese, English and Japanese, and a second pair of eyes reads it again."
        ),
        days_off=(_SUNDAY,),
        condition=Bilingual("提前两天收到定稿", "I have the final text two days before"),
    ),
    "user_agent_mo": AgentPolicy(
        260,
        0,
        Bilingual("先出三稿，选定后改到满意为止。", "You choose from three sketches, and I refine the one you like."),
        days_off=_WEEKEND,
        lowest_share=0.8,
    ),
    "user_agent_hua": AgentPolicy(
        120,
        4,
        Bilingual("花、背景和桌椅一次送到并布置好。", "Flowers, backdrop and furniture arrive and are set up together."),
        largest=400,
        condition=Bilingual("活动前两小时可以进场布置", "we may set up two hours before it begins"),
    ),
    "user_agent_rhythm": AgentPolicy(
        500,
        1,
        Bilingual("三重奏演两场，每场四十五分钟。", "The trio plays two sets of forty-five minutes."),
        smallest=15,
        largest=500,
        days_off=(_MONDAY, _TUESDAY),
        condition=Bilingual("备好一间能锁门的休息室", "there is a dressing room that locks"),
    ),
    "user_agent_song": AgentPolicy(
        180,
        0,
        Bilingual("中英双语主持，流程稿我来写。", "I host in Chinese and English and write the running order."),
        smallest=10,
        condition=Bilingual("前一天对一次流程", "we go through the running order the day before"),
    ),
    "user_agent_sven": AgentPolicy(
        160,
        1,
        Bilingual("音响、投影和灯光，含一名操作员。", "PA, projector and lights, with an operator."),
        largest=1_000,
        days_off=(_SUNDAY,),
        condition=Bilingual("提前三十分钟开门试音", "the doors open 30 minutes earlier for the sound check"),
    ),
    "user_agent_che": AgentPolicy(
        60,
        3,
        Bilingual("司机提前一刻钟到，行李不另收费。", "The driver is there a quarter of an hour early, and luggage is free."),
        largest=120,
        lowest_share=0.9,
    ),
    "user_agent_hana": AgentPolicy(
        30,
        45,
        Bilingual(
            "房间离车站五分钟，还有人带路。", "The rooms are five minutes from the station, with somebody to show the way."
        ),
        largest=60,
        condition=Bilingual("提前三天给我住客名单", "I have the list of guests three days before"),
    ),
    "user_agent_lex": AgentPolicy(
        240,
        0,
        Bilingual("先看文件，再给书面意见。", "We read the papers first and then advise in writing."),
        days_off=_WEEKEND,
        lowest_share=0.95,
    ),
    "user_agent_qian": AgentPolicy(
        130,
        0,
        Bilingual("账目、报表和申报一起办。", "Books, statements and filings come from one hand."),
        days_off=_WEEKEND,
        condition=Bilingual("每月五号前给齐票据", "all receipts reach me by the fifth of the month"),
    ),
    "user_agent_ivy": AgentPolicy(
        90,
        1,
        Bilingual("比过三家再给您方案。", "I compare three insurers before I suggest one."),
        largest=5_000,
        days_off=(_SUNDAY,),
        lowest_share=0.95,
    ),
    "user_agent_mei": AgentPolicy(
        280,
        0,
        Bilingual("线上线下一起推，文案也由我们写。", "We promote it online and on walls, and write the words for it."),
        days_off=(_SUNDAY,),
        lowest_share=0.8,
        condition=Bilingual("文案一天内确认", "texts are approved within a day"),
    ),
    "user_agent_dev": AgentPolicy(
        600,
        0,
        Bilingual("两周交付第一版，之后保修三个月。", "A first version in two weeks, and three months of fixes after it."),
        days_off=_WEEKEND,
        lowest_share=0.8,
    ),
    "user_agent_shu": AgentPolicy(
        320,
        0,
        Bilingual("从整理数据到看板，最后当面讲解。", "From cleaning the data to a dashboard, explained in person."),
        days_off=_WEEKEND,
        condition=Bilingual("数据以表格形式给到我", "the data comes as tables"),
    ),
    "user_agent_tutor_wang": AgentPolicy(
        25,
        15,
        Bilingual("先试讲一节，再定计划。", "We begin with a trial lesson and plan from there."),
        largest=12,
        days_off=(_MONDAY,),
        lowest_share=0.9,
    ),
    "user_agent_fiona": AgentPolicy(
        45,
        5,
        Bilingual("器材我带，地方够站就行。", "I bring the mats; all we need is room to stretch."),
        largest=30,
        days_off=(_SUNDAY,),
        condition=Bilingual("大家提前告知旧伤", "everybody tells me about old injuries first"),
    ),
    "user_agent_ann": AgentPolicy(
        140,
        1,
        Bilingual("两名急救员和一套完整设备。", "Two paramedics with full equipment."),
        lowest_share=0.9,
        condition=Bilingual("入口旁留出救护车位", "a place for the ambulance is kept free at the entrance"),
    ),
    "user_agent_tie": AgentPolicy(
        150,
        2,
        Bilingual("持证队员，入口和场内都有人。", "Licensed guards at the doors and inside."),
        smallest=30,
        lowest_share=0.9,
    ),
    "user_agent_hao": AgentPolicy(
        70,
        0,
        Bilingual("自带工具，收尾打扫干净。", "We bring the tools and leave the place clean."),
        days_off=(_SUNDAY,),
        lowest_share=0.8,
    ),
    "user_agent_mina": AgentPolicy(
        60,
        30,
        Bilingual("试妆一次，当天全程跟妆。", "One trial, and I stay through the day."),
        largest=10,
        condition=Bilingual("准备一张靠窗的桌子", "there is a table by a window"),
    ),
    "user_agent_nana": AgentPolicy(
        35,
        10,
        Bilingual("有证照，也有耐心。", "Trained, insured and patient."),
        largest=15,
        days_off=(_SUNDAY,),
        lowest_share=0.9,
    ),
    "user_agent_rec": AgentPolicy(
        110,
        2,
        Bilingual("人选经过面试，临时缺人当天补上。", "Everybody is interviewed, and replaced the same day if need be."),
        smallest=5,
        largest=3_000,
        lowest_share=0.8,
    ),
    "user_agent_xin": AgentPolicy(
        80,
        20,
        Bilingual("谈话内容保密，线上或面谈都可以。", "What is said stays between us, online or in person."),
        largest=6,
        days_off=(_SUNDAY,),
        lowest_share=0.9,
    ),
    "user_agent_rita": AgentPolicy(
        150,
        3,
        Bilingual("先看三处，合适再谈。", "We look at three places before we talk about contracts."),
        largest=300,
        days_off=(_SUNDAY,),
        condition=Bilingual("看房至少留出半天", "there is half a day for viewings"),
    ),
}
