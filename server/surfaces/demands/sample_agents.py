"""
The sample agents: somebody to answer a newcomer's first demand, one agent for every trade in the lexicon.

They are registered at the first start when `[negotiation] sample_agents` is on, and ordinary agents after
that.
"""

from typing import TypedDict


class SampleAgent(TypedDict):
    """
    What `agent.registered` carries for a sample agent, without `sample`.
    """

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
    _agent(
        "alice",
        "Alice",
        "技术分享|technical talks|演讲嘉宾 speaker",
        "讲人工智能与分布式系统。Speaks at meetups.",
    ),
    _agent(
        "charlie",
        "Charlie",
        "活动策划|event planning",
        "从方案到现场统筹。Concept, schedule, running the day.",
    ),
    _agent("diana", "Diana 黛安娜", "摄影|photography", "Portraits, products, events; pictures the next day."),
    _agent("victor", "映像工作室 Victor", "摄像与视频剪辑|videography|直播 livestreaming", "两机位起，当天出片。"),
    _agent("fang", "方记厨房", "餐饮|茶歇|catering", "中式、西式与清真，二十人起。"),
    _agent("gina", "Gina's Oven", "cakes and baking|烘焙甜品", "Birthday cakes to order, two days ahead."),
    _agent("lin", "林语", "翻译|translation|口译 interpreting", "中文、英文、日文，笔头与现场。"),
    _agent(
        "mo",
        "墨色",
        "设计|graphic design|印刷 printing|3D打印 prototyping",
        "From the first sketch to the box.",
    ),
    _agent("hua", "花见", "花艺 florist|布置 decoration|设备租赁 equipment rental", "花、背景与桌椅，一次送到。"),
    _agent(
        "rhythm",
        "The Rhythm Section",
        "live music|乐队|表演 performers",
        "Jazz trio, dancers and a magician.",
    ),
    _agent("song", "宋司仪", "主持人|emcee", "中英双语，熟悉大型场面。"),
    _agent("sven", "Sven", "sound and light|灯光音响", "PA, projectors and stage lighting with an operator."),
    _agent("che", "老车", "交通接送|transport|搬家 moving company", "九座商务到四十座客运，司机准时。"),
    _agent(
        "hana",
        "Hana",
        "accommodation|住宿|导游 tour guide",
        "Rooms near the station and someone who knows the way.",
    ),
    _agent("lex", "Lex & Partner", "legal advice|法律咨询", "Contracts, companies and trademarks."),
    _agent("qian", "钱会计", "会计|accounting|报税 tax", "小微企业的账与税。"),
    _agent("ivy", "Ivy", "insurance|保险|投资 investment", "Cover for people and things; introductions to funds."),
    _agent("mei", "梅子传播", "营销推广|marketing|文案 copywriting", "小红书、公众号与线下海报墙。"),
    _agent(
        "dev",
        "Dev",
        "web development|网站开发|IT support 网络安全",
        "Sites, apps and the servers under them.",
    ),
    _agent("shu", "数说", "数据分析|data analysis", "从表格到看板，讲得清楚。"),
    _agent("tutor_wang", "王家教", "家教辅导|tutoring", "中小学数学与英语，可上门。"),
    _agent("fiona", "Fiona", "fitness coach|健身瑜伽", "Personal and office sessions."),
    _agent("ann", "Ann", "first aid|急救医疗", "Paramedics for events of any size."),
    _agent("tie", "铁卫", "安保|security guards", "持证上岗，大型场面有经验。"),
    _agent(
        "hao",
        "好邻居家政",
        "保洁|cleaning|维修 repair|装修 renovation|园艺 gardening",
        "家里家外，随叫随到。",
    ),
    _agent("mina", "米娜", "化妆造型|makeup artist", "新娘、舞台与镜头前。"),
    _agent(
        "nana",
        "Nana",
        "childcare|保姆|护工 elder care|宠物寄养 pet care",
        "For the small, the old and the furry.",
    ),
    _agent("rec", "良才", "招聘|recruiting|志愿者与签到 event staff", "从全职工程师到一日帮手。"),
    _agent("xin", "心田", "心理咨询|counselling", "个人与伴侣，线上或面谈。"),
    _agent("rita", "Rita", "real estate|办公室出租", "Flats and offices to let or to buy."),
)
